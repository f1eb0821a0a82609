"""The one way a reset is recorded: every face and every call of it comes through here."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from shared import tracing
from shared.errors import ProviderMissingError, TooManyRequestsError
from shared.models import Caller, Channel, Kind, Organisation, Queue, Recipient, User
from shared.policies import check_country, check_recipient, last_start_seconds
from shared.queue import hint_at
from shared.store.limits import Limit
from shared.store.resets import NewReset, Recorded
from shared.tracing import current_request_id
from shared.wiring import Services

log = structlog.get_logger()

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetRequest:
    """A reset for a user who may have one."""

    user: User
    organisation: Organisation | None
    channel: Channel
    reset_id: str
    caller: Caller | None = None  # None: the person asked on the page
    kind: Kind = Kind.RESET
    url_template: str | None = None
    has_cooldown: bool = True
    is_repeatable: bool = False  # others may ask for the same reset at this moment


def record_reset(services: Services, order: ResetRequest) -> Recorded:
    """Address, country, suppression, provider, limits, record, hint: in this order.

    Raises:
        CallerError: what stood in the way; nothing was recorded.
    """
    facts = {"reset_id": order.reset_id, "channel": order.channel.value}
    with tracing.span("reset.record", facts | {"request_id": current_request_id()}):
        return _record(services, order)


def _record(services: Services, order: ResetRequest) -> Recorded:
    recipient = _find_recipient(services, order) if order.kind is Kind.RESET else None
    limits = _limits(services, order)
    asked_at_us = _pass_gate(services, order, limits, recipient)
    try:
        recorded = services.resets.record(_new_reset(services, order, asked_at_us))
    except TooManyRequestsError as error:
        services.limits.give_back(
            limits, reset_id=order.reset_id, is_repeatable=order.is_repeatable
        )
        log.info("reset.limited", limit=error.limit)
        raise
    if order.kind is Kind.RESET:
        services.hints.publish(hint_at(order.reset_id, order.channel, Queue.URGENT))
    log.info(
        "reset.requested",
        reset_id=order.reset_id,
        channel=order.channel.value,
        caller_id=order.caller.token_id if order.caller else None,
    )
    return recorded


def _find_recipient(services: Services, order: ResetRequest) -> Recipient:
    recipient = check_recipient(
        order.user, order.channel, allow_unverified=services.settings.allow_unverified
    )
    check_country(recipient, services.sms_regions)
    return recipient


def _pass_gate(
    services: Services, order: ResetRequest, limits: list[Limit], recipient: Recipient | None
) -> int:
    """`recipient` None: nothing will be sent, so neither an address nor a provider is needed."""
    has_provider = recipient is None or bool(services.provider_names[order.channel])
    try:
        asked_at_us = services.limits.pass_gate(
            limits,
            recipient_digest=services.suppressions.digest(recipient) if recipient else "",
            version=order.caller.version if order.caller else -1,
            reset_id=order.reset_id,
            is_repeatable=order.is_repeatable,
            may_count=has_provider,
        )
    except TooManyRequestsError as error:
        log.info("reset.limited", limit=error.limit)
        raise
    if not has_provider:
        raise ProviderMissingError
    return asked_at_us


def _limits(services: Services, order: ResetRequest) -> list[Limit]:
    settings = services.settings
    all_limits = [Limit("organisation", order.user.org_id, settings.org_limit_per_minute, 60)]
    if order.caller:
        all_limits.append(
            Limit("caller", order.caller.token_id, settings.caller_limit_per_minute, 60)
        )
    if order.channel is Channel.SMS:
        all_limits.append(Limit("sms_budget", "all", settings.sms_budget_per_day, DAY_SECONDS))
    return [limit for limit in all_limits if limit.most > 0]


def _new_reset(services: Services, order: ResetRequest, asked_at_us: int) -> NewReset:
    settings, user = services.settings, order.user
    lifetime = settings.lifetime_seconds(order.channel)
    organisation_language = order.organisation.language if order.organisation else None
    return NewReset(
        reset_id=order.reset_id,
        user_id=user.user_id,
        org_id=user.org_id,
        channel=order.channel,
        language=services.languages.choose(user.language, organisation_language),
        key_id=services.codes.signing_key_id,
        lifetime_seconds=lifetime,
        last_start_seconds=last_start_seconds(order.channel, lifetime),
        cooldown_seconds=settings.user_cooldown_seconds if order.has_cooldown else 0,
        limit_per_hour=settings.user_limit_per_hour,
        limit_per_day=settings.user_limit_per_day,
        kind=order.kind,
        asked_at_us=asked_at_us,
        extra=_extra(order),
    )


def _extra(order: ResetRequest) -> dict[str, str]:
    facts = {"rq": current_request_id(), "tp": order.url_template, "tr": tracing.traceparent()}
    return {name: value for name, value in facts.items() if value}
