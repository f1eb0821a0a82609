"""The use case of resending: a fresh reset for the user of another one, on either channel."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from shared.errors import NotFoundError, ResetStateError
from shared.models import Caller, Channel, Kind, Reset
from shared.policies import check_may_reset
from shared.store.audit import Act
from shared.store.resets import Recorded
from web.house import House
from web.lever_rights import authenticate, by_token, require_reset
from web.levers import Why, check_reason
from web.once import record_once
from web.recording import Order, record_reset
from web.refusing import Asking, remembered
from web.resets import Credentials, read_channel


@dataclass(frozen=True, slots=True)
class WantedResend:
    """What is asked for, decoded but not yet judged."""

    reset_id: str
    type: str | int | None = None  # the enum's name or number; None: the channel of before
    reason: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None


def resend(house: House, credentials: Credentials, wanted: WantedResend) -> Recorded:
    """Record a fresh reset for a caller who may write to users of the old one's organisation.

    All rules of recording hold but the user's cool-down: somebody has looked at it.

    Raises:
        CallerError: what stood in the way; nothing was recorded then.
    """
    return house.auth.with_present_rights(lambda: _resend(house, credentials, wanted))


def _resend(house: House, credentials: Credentials, wanted: WantedResend) -> Recorded:
    caller = authenticate(house, credentials)
    old = require_reset(house, caller, wanted.reset_id)
    channel = old.channel if wanted.type is None else read_channel(wanted.type)
    reason = check_reason(wanted.reason) if wanted.reason else "no reason was given"
    why = Why(by_token(caller), reason)

    def record(reset_id: str) -> Recorded:
        order = _order(house, old, channel, reset_id, wanted, caller=caller)
        return _record(house, old, order, why)

    with remembered(house, Asking(old.user_id, channel, wanted.request_id, caller)):
        return record_once(
            house,
            caller,
            wanted.idempotency_key,
            user_id=old.user_id,
            meaning=("resend", old.reset_id, channel),
            record=record,
        )


def resend_by_hand(house: House, reset_id: str, channel: Channel | None, why: Why) -> Recorded:
    """The same for somebody on this machine.

    Raises:
        CallerError: what stood in the way; nothing was recorded then.
    """
    old = house.resets.find(reset_id)
    if old is None:
        raise NotFoundError
    wanted = WantedResend(reset_id, request_id=secrets.token_hex(8))
    new_id, channel = house.digests.new_reset_id(old.user_id), channel or old.channel
    with remembered(house, Asking(old.user_id, channel, wanted.request_id)):
        return _record(house, old, _order(house, old, channel, new_id, wanted), why)


def _order(
    house: House,
    old: Reset,
    channel: Channel,
    reset_id: str,
    wanted: WantedResend,
    *,
    caller: Caller | None = None,
) -> Order:
    if old.kind is Kind.NOTICE:
        raise ResetStateError("a notice about a changed password is not sent again")
    user = check_may_reset(house.directory.find_user(old.user_id), old.org_id)
    return Order(
        user=user,
        organisation=house.callers.find_organisation(user.org_id),
        channel=channel,
        reset_id=reset_id,
        caller=caller,
        request_id=wanted.request_id,
        url_template=old.url_template,
        is_repeatable=wanted.idempotency_key is not None,
        has_cooldown=False,
    )


def _record(house: House, old: Reset, order: Order, why: Why) -> Recorded:
    """The act is noted first, so that the trail is complete; a refused one stands there too."""
    act = Act(by=why.by, action="reset.resend", target=old.reset_id, reason=why.reason)
    house.audit.record(act)
    return record_reset(house, order)
