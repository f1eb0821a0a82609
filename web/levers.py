"""The operator's levers; each leaves who pulled it, and why, in the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import (
    CallerError,
    InvalidRequestError,
    NotFoundError,
    ResetStateError,
)
from shared.models import DUE_QUEUES, Channel
from shared.store.audit import Act
from shared.store.pauses import Scope
from web.house import House

MOST_REASON_CHARACTERS = 500
SYSTEM_READ, SYSTEM_WRITE, USER_WRITE = "system.read", "system.write", "user.write"
LIMITS = ("user", "organisation", "caller", "sms_budget")


@dataclass(frozen=True, slots=True)
class Why:
    """Who pulls a lever, and why."""

    by: str
    reason: str


def check_reason(reason: str | None) -> str:
    """The reason for pulling a lever; what could steer a terminal is taken out.

    Raises:
        InvalidRequestError: there is none, or a long one.
    """
    reason = (reason or "").strip()
    if not 1 <= len(reason) <= MOST_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason must have 1 to {MOST_REASON_CHARACTERS} characters")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in reason)


def pause(house: House, scope: Scope, name: str, why: Why) -> bool:
    """Send nothing for this from now on; False when it was paused already.

    Raises:
        NotFoundError: there is no such thing.
    """
    _check_name(house, scope, name)
    return house.pauses.pause(scope, name, by=why.by, reason=why.reason)


def resume(house: House, scope: Scope, name: str, why: Why, *, per_second: float = 0) -> bool:
    """Send again, what waits at once or at a pace; False when it was not paused.

    Raises:
        NotFoundError: there is no such thing, and no pause of it.
    """
    if (scope, name) not in {(each.scope, each.name) for each in house.pauses.all()}:
        _check_name(house, scope, name)
    facts = {"by": why.by, "reason": why.reason}
    return house.pauses.resume(scope, name, per_second=per_second, **facts)


def hold(house: House, reset_id: str, why: Why) -> None:
    """Keep one reset from going out until it is released, or its code's life ends.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it is too late.
    """
    _check_reset(house, reset_id)
    house.audit.record(Act(by=why.by, action="reset.hold", target=reset_id, reason=why.reason))
    answer = house.waiting.hold(reset_id, by=why.by, reason=why.reason)
    if answer != "held":
        raise ResetStateError(f"the reset is {answer}: it cannot be held any more")


def let_go(house: House, reset_id: str, why: Why) -> None:
    """Let a reset that was held go out.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it was not held.
    """
    _check_reset(house, reset_id)
    house.audit.record(Act(by=why.by, action="reset.release", target=reset_id, reason=why.reason))
    if house.waiting.release(reset_id, by=why.by, reason=why.reason) != "released":
        raise ResetStateError("the reset is not held")


def clear_limit(house: House, limit: str, about: str, why: Why) -> bool:
    """Forget what was counted toward a limit; False when nothing was.

    `limit` is one of LIMITS; `about` an id, nothing for the budget of SMS.
    """
    act = Act(by=why.by, action="limit.clear", target=f"{limit} {about}".strip(), reason=why.reason)
    if limit == "user":
        return house.limits.clear_user(house.digests.user_place(about), act)
    return house.limits.clear(limit, "all" if limit == "sms_budget" else about, act)


def _check_reset(house: House, reset_id: str) -> None:
    if house.resets.find(reset_id) is None:
        raise NotFoundError


def _check_name(house: House, scope: Scope, name: str) -> None:
    if scope is Scope.ORGANISATION:
        if house.callers.find_organisation(name) is None:
            raise _unknown(scope, name, ())
        return
    providers = [each for names in house.provider_names.values() for each in names]
    known = {
        Scope.QUEUE: [queue.value for queue in DUE_QUEUES],
        Scope.CHANNEL: [channel.value for channel in Channel],
        Scope.PROVIDER: list(dict.fromkeys(providers)),
    }[scope]
    if name not in known:
        raise _unknown(scope, name, known)


def _unknown(scope: Scope, name: str, known: Sequence[str]) -> CallerError:
    names = f"; there are {', '.join(known)}" if known else ""
    return NotFoundError(f"there is no {scope} {name!r}{names}")
