"""The use cases of suppressions by hand: add, lift, lift and send again; each in the trail."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import structlog

from shared.errors import CallerError, NotFoundError, StoreUnavailableError
from shared.models import Recipient, User
from shared.policies import check_may_reset
from shared.store.audit import Act
from web.house import House
from web.levers import Why
from web.recording import Order, record_reset

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resent:
    """What came of sending again to one user."""

    user_id: str
    reset_id: str | None
    refusal: str | None  # why there is no reset


def suppress(house: House, recipient: Recipient, why: Why) -> bool:
    """Write to a recipient no more; False when it was suppressed already, for its first reason."""
    return house.suppressions.add_by_hand(recipient, _act(house, "suppression.add", recipient, why))


def lift(house: House, recipient: Recipient, why: Why) -> None:
    """Write to a recipient again, from the next reset on.

    Raises:
        NotFoundError: it is not suppressed.
    """
    _lift(house, recipient, why, "suppression.lift")


def lift_and_resend(house: House, recipient: Recipient, why: Why) -> list[Resent]:
    """The same, and a fresh reset for everybody who has this address; one act in the trail.

    All rules of recording hold but the users' cool-downs: somebody has looked at it.

    Raises:
        NotFoundError: it is not suppressed, or nobody has it; nothing was done.
    """
    users = [
        user
        for user in house.directory.find_users_by_address(recipient.address)
        if _has(house, user, recipient)
    ]
    if not users:
        raise NotFoundError("no user in the directory has this address")
    _lift(house, recipient, why, "suppression.lift_and_resend")
    return [_resend(house, user, recipient) for user in users]


def _has(house: House, user: User, recipient: Recipient) -> bool:
    own = user.recipient(recipient.channel)
    digest = house.suppressions.digest
    return own is not None and digest(own) == digest(recipient)


def _lift(house: House, recipient: Recipient, why: Why, action: str) -> None:
    act = _act(house, action, recipient, why)
    if not house.suppressions.lift(recipient, act):
        raise NotFoundError(f"{recipient.masked} is not suppressed")
    log.info("suppression.lifted", digest=act.target, by=why.by, reason=why.reason)


def _resend(house: House, user: User, recipient: Recipient) -> Resent:
    reset_id = house.digests.new_reset_id(user.user_id)
    try:
        order = Order(
            user=check_may_reset(user, None),
            organisation=house.callers.find_organisation(user.org_id),
            channel=recipient.channel,
            reset_id=reset_id,
            request_id=secrets.token_hex(8),
            has_cooldown=False,
        )
        record_reset(house, order)
    except StoreUnavailableError:
        raise
    except CallerError as error:
        return Resent(user.user_id, None, error.message)
    return Resent(user.user_id, reset_id, None)


def _act(house: House, action: str, recipient: Recipient, why: Why) -> Act:
    digest = house.suppressions.digest(recipient)
    return Act(by=why.by, action=action, target=digest, reason=why.reason)
