"""Record a reset: checks, limits, record, hint; for web, worker and command line.

The batch feeder records many in one trip: it has limits of its own and takes `new_reset` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from shared import errors, tracing
from shared.errors import ProviderMissingError, SmsSuspiciousError, TooManyRequestsError
from shared.guard.rules import PERIODS_SECONDS, Guarded, counted_of, prefixes_of
from shared.models import (
    Caller,
    Channel,
    DeliveryEvent,
    Kind,
    Organisation,
    Queue,
    Recipient,
    User,
)
from shared.policies import (
    check_country,
    check_line,
    check_recipient,
    dial_region,
    last_start_seconds,
    provider_names,
    record_lifetime_seconds,
    route_of,
    sms_regions,
)
from shared.queue import hint_at
from shared.settings import Settings
from shared.store.admin.refusals import NewRefusal
from shared.store.forgot import HOUR_SECONDS, SOURCE_FACTOR
from shared.store.limits import Limit, check_gate
from shared.store.resets import OPTIONAL_FIELDS, NewReset, Recorded, first_event
from shared.tracing import bound, current_request_id
from shared.validation import format_timestamp
from shared.wiring import Services

log = structlog.get_logger()

DAY_SECONDS = 24 * 3600
MICROS = 1_000_000  # a price of 1, as it is counted
NEVER_MS = 1 << 52  # later than any moment: only what waits, or would be displaced, is in the way

# Only errors raised after the user was found: unknown ids must not fill the store.
RECORDED_ERRORS = (
    errors.TooManyRequestsError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.LineTypeError,
    errors.SmsSuspiciousError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.UserInactiveError,
    errors.UserNotInitialisedError,
    errors.ResetUserNotInitialisedError,
    errors.MachineUserError,
    errors.UrlNotAllowedError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetRequest:
    """A reset for a user who may have one."""

    user: User
    organisation: Organisation | None
    channel: Channel
    reset_id: str
    caller: Caller | None = None  # None: no API token is involved
    caller_id: str | None = None  # None: that of the caller, or of the log context
    request_id: str | None = None  # None: that of the log context
    kind: Kind = Kind.RESET
    queue: Queue = Queue.URGENT
    url_template: str | None = None
    batch_id: str | None = None
    since_ms: int = 0  # see NewReset
    idempotency: str | None = None  # the digest of its Idempotency-Key
    event: DeliveryEvent | None = None  # the first of its timeline
    limits: tuple[Limit, ...] | None = None  # in place of the organisation's and the caller's
    has_cooldown: bool = True
    has_user_limits: bool = True  # the cool-down and those per hour and day
    source: str = ""  # who asks, as a digest, where no caller does
    is_repeatable: bool = False  # others may ask for the same reset at this moment
    listing: str | None = None  # its mail lists other users' links
    is_listed: bool = False  # its link stands in the mail of another user with the same address

    @property
    def has_recipient(self) -> bool:
        """Return True if the code goes to an address of the user."""
        return self.kind is Kind.RESET or self.is_listed


def record_reset(services: Services, request: ResetRequest) -> Recorded:
    """Check address, country, suppression, provider and limits in this order; record; hint.

    Raises:
        CallerError: a check failed; nothing was recorded.
    """
    attributes = {"reset_id": request.reset_id, "channel": request.channel.value}
    with tracing.span(
        "reset.record", attributes | {"request_id": request.request_id or current_request_id()}
    ):
        recipient = _find_recipient(services, request) if request.has_recipient else None
        limits = _limits(services.settings, request, recipient)
        guarded = _guarded(services, request, recipient) if recipient else None
        recorded = _record(services, request, limits, recipient, guarded)
        caller_id = _caller_id(request)
        user = services.digests.user_place(request.user.user_id)[1]
        log.info("reset.requested", **attributes, user=user, caller_id=caller_id)
        return recorded


def _find_recipient(services: Services, request: ResetRequest) -> Recipient:
    recipient = check_recipient(
        request.user, request.channel, allow_unverified=services.settings.allow_unverified
    )
    check_country(recipient, sms_regions(request.organisation, services.sms_regions))
    check_line(recipient, services.settings.sms_allow_lines)
    return recipient


def _limits(settings: Settings, request: ResetRequest, recipient: Recipient | None) -> list[Limit]:
    limits = call_limits(settings, request.user.org_id, request.caller)
    if request.limits is not None:
        limits = [*request.limits, *call_limits(settings, None, request.caller)]
    if recipient and recipient.channel is Channel.SMS:
        limits += sms_limits(settings, request.user.org_id, request.organisation, recipient)
    return [limit for limit in limits if limit.most > 0 and limit.window_seconds > 0]


def call_limits(settings: Settings, org_id: str | None, caller: Caller | None) -> list[Limit]:
    """Return the limits of an organisation and of a caller, as far as there are such."""
    limits = []
    if org_id is not None:
        limits.append(Limit("organisation", org_id, settings.org_limit_per_minute, 60))
    if caller:
        limits.append(Limit("caller", caller.token_id, settings.caller_limit_per_minute, 60))
    return limits


def sms_limits(
    settings: Settings, org_id: str, organisation: Organisation | None, recipient: Recipient
) -> list[Limit]:
    """Return the budgets that an SMS counts toward, in messages and in money.

    Where the installation never has to send it, only that of the organisation counts.
    """
    route = route_of(organisation, Channel.SMS)
    is_own = bool(route and not route.has_fallback)
    limits = [Limit("sms_budget", "all", settings.sms_budget_per_day, DAY_SECONDS)]
    limits = [] if is_own else limits
    if settings.sms_budgets:
        region, prefixes = dial_region(recipient.address) or "?", prefixes_of(recipient.address)
        prices = dict(settings.sms_prices)
        micros = round(prices.get(region, prices.get("*", 0.0)) * MICROS)
        about = {"all": "all", "organisation": org_id, "country": region}
        about["prefix"] = prefixes[-1] if prefixes else "?"
        for each in settings.sms_budgets:
            if is_own and each.scope != "organisation":
                continue
            unit, amount = (MICROS, micros) if each.currency else (1, 1)
            key = f"{about[each.scope]} {each.currency or 'messages'} {each.period}"
            seconds, most = PERIODS_SECONDS[each.period], round(each.most * unit)
            limits.append(Limit(f"sms_{each.scope}", key, most, seconds, amount))
    return [limit for limit in limits if limit.most > 0]


def _guarded(services: Services, request: ResetRequest, recipient: Recipient) -> Guarded | None:
    if recipient.channel is not Channel.SMS:
        return None
    settings, prefixes = services.settings, prefixes_of(recipient.address)
    return Guarded(
        recipient_digest=services.suppressions.digest(recipient),
        prefixes=prefixes,
        counted=counted_of(prefixes),
        source=request.caller.token_id if request.caller else request.source,
        levels=dict(settings.sms_guard),
        numbers=settings.sms_guard_numbers,
        lifetime_seconds=settings.sms_code_lifetime_seconds,
    )


def _record(
    services: Services,
    request: ResetRequest,
    limits: list[Limit],
    recipient: Recipient | None,
    guarded: Guarded | None,
) -> Recorded:
    """Pass the gate, record, hint. `recipient` None: nothing is sent: no provider is needed."""
    names = services.provider_names[request.channel]
    names = provider_names(request.organisation, request.channel, names)
    gate = services.limits.gate(
        limits,
        recipient_digest=services.suppressions.digest(recipient) if recipient else "",
        version=request.caller.version if request.caller else -1,
        reset_id=request.reset_id,
        is_repeatable=request.is_repeatable,
        may_count=recipient is None or bool(names),
        guarded=guarded,
    )
    new, is_due = new_reset(services, request), request.kind is Kind.RESET
    hint = hint_at(request.reset_id, request.channel, request.queue)
    at_once = services.hints.call(hint) if is_due else None
    passed, answer = services.resets.record_behind(gate, new, at_once)
    try:
        check_gate(passed)
        if answer is None:
            raise ProviderMissingError
        recorded = services.resets.read_recorded(new, answer)
    except TooManyRequestsError as error:
        if answer is not None:
            services.limits.give_back(
                limits,
                reset_id=request.reset_id,
                is_repeatable=request.is_repeatable,
                guarded=guarded,
            )
        log.info("reset.limited", limit=error.limit)
        raise
    except SmsSuspiciousError as error:
        error.has_email = bool(request.user.email and request.user.email.is_verified)
        raise
    if is_due and not at_once:
        services.hints.publish(hint)
    return recorded


def page_limits(
    services: Services, user: User, source: str | None, *, is_holder: bool = False
) -> tuple[Limit, ...]:
    """Return the limits of what the pages send: of strangers, or of holders of a former code.

    `source` None: what counts it has counted it already.
    """
    settings, digests = services.settings, services.digests
    _, digest = digests.user_place(user.user_id)
    most = settings.user_limit_per_hour if is_holder else settings.page_limit_per_hour
    who = "page_holder" if is_holder else "page_user"
    of_source: tuple[Limit, ...] = ()
    if source is not None:
        about = digests.digest("source", source)
        of_source = (Limit("page_source", about, most * SOURCE_FACTOR, HOUR_SECONDS),)
    return (
        Limit(f"{who}_pause", digest, 1, int(settings.user_cooldown_seconds)),
        Limit(who, digest, most, HOUR_SECONDS),
        Limit("page_organisation", user.org_id, settings.org_limit_per_minute, 60),
        *of_source,
    )


@dataclass(slots=True)
class RefusalScope:
    """What is known of a request by the time it is refused; the body fills it."""

    organisation: Organisation | None = None  # says how long a refusal is kept


@contextmanager
def record_refusals(
    services: Services,
    user_id: str,
    channel: Channel,
    caller: Caller | None = None,
    caller_id: str = "",
    request_id: str | None = None,
) -> Iterator[RefusalScope]:
    """Record what refuses the request inside, for `explain`, and raise it again."""
    scope = RefusalScope()
    try:
        yield scope
    except RECORDED_ERRORS as error:
        limited = error if isinstance(error, errors.TooManyRequestsError) else None
        refusal = NewRefusal(
            error=type(error).__name__.removesuffix("Error"),
            channel=channel,
            limit=limited.limit if limited else _stopped_by(error),
            wait_seconds=limited.retry_after_seconds if limited else 0,
            request_id=request_id or current_request_id() or "",
            caller_id=caller.token_id if caller else caller_id,
        )
        try:
            services.refusals.record(user_id, refusal, organisation=scope.organisation)
        except errors.StoreUnavailableError:
            log.warning("store.unavailable", during="refusing")
        raise


def _stopped_by(error: errors.CallerError) -> str:
    """Return what stopped an SMS, until when: `velocity|+8801|2026-…`; empty for other errors."""
    if not isinstance(error, SmsSuspiciousError):
        return ""
    return f"{error.rule}|{error.about}|{format_timestamp(error.until) or ''}"


def _caller_id(request: ResetRequest) -> str | None:
    """Return who asks: a token's id, `page`, `shell`; of a reset in place of another, its."""
    if request.caller:
        return request.caller.token_id
    return request.caller_id or bound("caller_id")


def new_reset(services: Services, request: ResetRequest) -> NewReset:
    """Return what the store records."""
    settings, user, organisation = services.settings, request.user, request.organisation
    lifetime = settings.lifetime_seconds(request.channel)
    has_cooldown = request.has_user_limits and request.has_cooldown
    recipient = user.recipient(request.channel) if request.has_recipient else None
    optional = {
        "request_id": request.request_id or current_request_id(),
        "url_template": request.url_template,
        "batch_id": request.batch_id,
        "trace": tracing.traceparent(),
        "basis": services.digests.basis(user, recipient),
        "listing": request.listing,
        "recipient_digest": services.suppressions.digest(recipient)
        if recipient and request.is_listed
        else None,
        "caller_id": _caller_id(request),
        "idempotency": request.idempotency,
    }
    extra = {OPTIONAL_FIELDS[name]: value for name, value in optional.items() if value}
    return NewReset(
        reset_id=request.reset_id,
        user_id=user.user_id,
        org_id=user.org_id,
        channel=request.channel,
        language=services.languages.choose_for(user, organisation),
        key_id=services.codes.signing_key_id,
        lifetime_seconds=lifetime,
        last_start_seconds=last_start_seconds(request.channel, lifetime),
        kind=request.kind,
        queue=request.queue,
        cooldown_seconds=settings.user_cooldown_seconds if has_cooldown else 0,
        limit_per_hour=settings.user_limit_per_hour if request.has_user_limits else 0,
        limit_per_day=settings.user_limit_per_day if request.has_user_limits else 0,
        keep_seconds=record_lifetime_seconds(settings, organisation),
        since_ms=request.since_ms,
        extra=extra | first_event(request.event) if request.event else extra,
    )
