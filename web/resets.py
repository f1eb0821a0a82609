"""The use case of asking for a reset: every face calls it, no face holds a rule of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from shared.errors import (
    InvalidRequestError,
    ProviderMissingError,
    TooManyRequestsError,
    UserUnknownError,
)
from shared.models import Caller, Channel, Organisation, Queue, Recipient, Reset, User
from shared.policies import (
    check_country,
    check_may_reset,
    check_recipient,
    last_start_seconds,
)
from shared.queue import Hint
from shared.store.limits import CallerChangedError, Limit
from shared.store.resets import NewReset, Recorded
from web.house import House

log = structlog.get_logger()

MAX_USER_ID_CHARACTERS = 200
MAX_IDEMPOTENCY_KEY_CHARACTERS = 255
CHANNELS_BY_NAME = {"TYPE_EMAIL": Channel.EMAIL, "TYPE_SMS": Channel.SMS}
CHANNELS_BY_NUMBER = {0: Channel.EMAIL, 1: Channel.SMS}
DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks, as the wire said it."""

    authorization: str | None = field(repr=False)
    org_id: str | None


@dataclass(frozen=True, slots=True)
class WantedReset:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    type: str | int | None = None  # the enum's name or number
    idempotency_key: str | None = None
    request_id: str | None = None


def request_reset(house: House, credentials: Credentials, wanted: WantedReset) -> Recorded:
    """Record a reset for a user of the organisation in force, and hint a worker at it.

    Raises:
        CallerError: whatever SPEC's order of checks meets first; nothing was recorded then.
    """
    try:
        return _request_reset(house, credentials, wanted)
    except CallerChangedError:
        house.auth.forget()
        return _request_reset(house, credentials, wanted)


def _request_reset(house: House, credentials: Credentials, wanted: WantedReset) -> Recorded:
    caller = house.auth.authenticate(credentials.authorization)
    organisation = house.auth.organisation_in_force(caller, credentials.org_id)
    house.auth.require(caller, organisation.org_id, "user.write")
    channel = _read_channel(wanted.type)
    _check_user_id(wanted.user_id)
    if wanted.idempotency_key is None:
        return _find_and_record(house, caller, organisation, wanted, channel)
    return _request_once(house, caller, organisation, wanted, channel)


def _request_once(
    house: House, caller: Caller, organisation: Organisation, wanted: WantedReset, channel: Channel
) -> Recorded:
    """The same call, user and meaning under one key are one reset."""
    key = _check_idempotency_key(wanted.idempotency_key or "")
    fingerprint = f"v1\0{organisation.org_id}\0{wanted.user_id}\0{channel}"
    house.idempotency.begin(caller.token_id, key, fingerprint)
    reset_id = house.digests.derived_reset_id(wanted.user_id, caller.token_id, key, fingerprint)
    if (known := house.resets.find(reset_id)) is not None:
        log.info("reset.repeated", reset_id=reset_id, caller_id=caller.token_id)
        return _as_recorded(known)
    try:
        recorded = _find_and_record(house, caller, organisation, wanted, channel, reset_id=reset_id)
    except Exception:
        house.idempotency.forget(caller.token_id, key)
        raise
    house.idempotency.keep(caller.token_id, key, fingerprint)
    return recorded


def _find_and_record(
    house: House,
    caller: Caller,
    organisation: Organisation,
    wanted: WantedReset,
    channel: Channel,
    *,
    reset_id: str | None = None,
) -> Recorded:
    user = check_may_reset(house.directory.find_user(wanted.user_id), organisation.org_id)
    order = Order(
        user=user,
        organisation=organisation,
        channel=channel,
        reset_id=reset_id or house.digests.new_reset_id(user.user_id),
        caller=caller,
        request_id=wanted.request_id,
    )
    return record_reset(house, order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A reset for a user who may have one."""

    user: User
    organisation: Organisation | None
    channel: Channel
    reset_id: str
    caller: Caller | None = None  # None: the person asked on the page
    request_id: str | None = None


def record_reset(house: House, order: Order) -> Recorded:
    """Address, country, suppression, provider, limits, record, hint: in this order.

    Raises:
        CallerError: what stood in the way; nothing was recorded.
    """
    settings = house.settings
    recipient = check_recipient(
        order.user, order.channel, allow_unverified=settings.allow_unverified
    )
    check_country(recipient, house.sms_regions)
    limits = _pass_gate(house, order, recipient)
    try:
        recorded = house.resets.record(_new_reset(house, order))
    except TooManyRequestsError as error:
        house.limits.give_back(limits)
        log.info("reset.limited", limit=error.limit)
        raise
    house.hints.publish(Hint(order.reset_id, order.channel, Queue.URGENT))
    log.info(
        "reset.requested",
        reset_id=order.reset_id,
        channel=order.channel.value,
        caller_id=order.caller.token_id if order.caller else None,
    )
    return recorded


def _pass_gate(house: House, order: Order, recipient: Recipient) -> list[Limit]:
    limits = _limits(house, order)
    has_provider = bool(house.provider_names[order.channel])
    try:
        house.limits.pass_gate(
            limits,
            recipient_digest=house.suppressions.digest(recipient),
            version=order.caller.version if order.caller else -1,
            may_count=has_provider,
        )
    except TooManyRequestsError as error:
        log.info("reset.limited", limit=error.limit)
        raise
    if not has_provider:
        raise ProviderMissingError
    return limits


def _limits(house: House, order: Order) -> list[Limit]:
    settings = house.settings
    all_limits = [Limit("organisation", order.user.org_id, settings.org_limit_per_minute, 60)]
    if order.caller:
        all_limits.append(
            Limit("caller", order.caller.token_id, settings.caller_limit_per_minute, 60)
        )
    if order.channel is Channel.SMS:
        all_limits.append(Limit("sms_budget", "all", settings.sms_budget_per_day, DAY_SECONDS))
    return [limit for limit in all_limits if limit.most > 0]


def _new_reset(house: House, order: Order) -> NewReset:
    settings, user = house.settings, order.user
    lifetime = settings.lifetime_seconds(order.channel)
    organisation_language = order.organisation.language if order.organisation else None
    return NewReset(
        reset_id=order.reset_id,
        user_id=user.user_id,
        org_id=user.org_id,
        channel=order.channel,
        language=house.languages.choose(user.language, organisation_language),
        key_id=house.codes.signing_key_id,
        lifetime_seconds=lifetime,
        last_start_seconds=last_start_seconds(order.channel, lifetime),
        cooldown_seconds=settings.user_cooldown_seconds,
        limit_per_hour=settings.user_limit_per_hour,
        limit_per_day=settings.user_limit_per_day,
        extra={"rq": order.request_id} if order.request_id else {},
    )


def _as_recorded(reset: Reset) -> Recorded:
    return Recorded(
        reset.reset_id,
        reset.created_at,
        reset.deadline_at,
        reset.sequence,
        reset.org_id,
        is_new=False,
    )


def _read_channel(value: str | int | None) -> Channel:
    """The channel of v1's `type`; nothing means e-mail."""
    if value is None:
        return Channel.EMAIL
    known = CHANNELS_BY_NAME.get(value) if isinstance(value, str) else CHANNELS_BY_NUMBER.get(value)
    if known is None:
        raise InvalidRequestError("type must be TYPE_EMAIL (0) or TYPE_SMS (1)")
    return known


def _check_user_id(user_id: str) -> None:
    if len(user_id) > MAX_USER_ID_CHARACTERS:
        raise InvalidRequestError("userId must have 1 to 200 characters")
    if not user_id.isprintable():
        raise UserUnknownError


def _check_idempotency_key(key: str) -> str:
    is_visible_ascii = all("!" <= sign <= "~" for sign in key)
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS or not is_visible_ascii:
        raise InvalidRequestError("Idempotency-Key must have 1 to 255 visible ASCII characters")
    return key
