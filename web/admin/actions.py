"""The operator's levers; each leaves who pulled it, and why, in the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from shared.errors import (
    CallerError,
    InvalidRequestError,
    NotFoundError,
    ResetStateError,
    StoreUnavailableError,
)
from shared.models import DUE_QUEUES, Caller, Channel, Kind, Recipient, Reset, User
from shared.policies import check_may_reset
from shared.recording import ResetRequest, record_reset
from shared.store.admin.audit import Act
from shared.store.admin.pauses import Scope
from shared.store.resets import Recorded
from web.auth import USER_WRITE, Credentials, audit_name, retry_when_rights_change
from web.idempotency import idempotent
from web.resets import read_channel, record_refusals
from web.services import WebServices

MAX_REASON_CHARACTERS = 500
LIMITS = ("user", "organisation", "caller", "sms_budget")


@dataclass(frozen=True, slots=True)
class AuditReason:
    """Who pulls a lever, and why."""

    by: str
    reason: str


def check_reason(reason: str | None) -> str:
    """The reason for pulling a lever; what could steer a terminal is taken out.

    Raises:
        InvalidRequestError: there is none, or a long one.
    """
    reason = (reason or "").strip()
    if not 1 <= len(reason) <= MAX_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason must have 1 to {MAX_REASON_CHARACTERS} characters")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in reason)


def pause(services: WebServices, scope: Scope, name: str, why: AuditReason) -> bool:
    """Send nothing for this from now on; False when it was paused already.

    Raises:
        NotFoundError: there is no such thing.
    """
    _check_name(services, scope, name)
    return services.pauses.pause(scope, name, by=why.by, reason=why.reason)


def resume(
    services: WebServices, scope: Scope, name: str, why: AuditReason, *, per_second: float = 0
) -> bool:
    """Send again, what waits at once or at a pace; False when it was not paused.

    Raises:
        NotFoundError: there is no such thing, and no pause of it.
    """
    if (scope, name) not in {(each.scope, each.name) for each in services.pauses.all()}:
        _check_name(services, scope, name)
    facts = {"by": why.by, "reason": why.reason}
    return services.pauses.resume(scope, name, per_second=per_second, **facts)


def hold(services: WebServices, reset_id: str, why: AuditReason) -> None:
    """Keep one reset from going out until it is released, or its code's life ends.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it is too late.
    """
    _check_reset(services, reset_id)
    services.audit.record(Act(by=why.by, action="reset.hold", target=reset_id, reason=why.reason))
    answer = services.waiting.hold(reset_id, by=why.by, reason=why.reason)
    if answer != "held":
        raise ResetStateError(f"the reset is {answer}: it cannot be held any more")


def release(services: WebServices, reset_id: str, why: AuditReason) -> None:
    """Let a reset that was held go out.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it was not held.
    """
    _check_reset(services, reset_id)
    services.audit.record(
        Act(by=why.by, action="reset.release", target=reset_id, reason=why.reason)
    )
    if services.waiting.release(reset_id, by=why.by, reason=why.reason) != "released":
        raise ResetStateError("the reset is not held")


def clear_limit(services: WebServices, limit: str, about: str, why: AuditReason) -> bool:
    """Forget what was counted toward a limit; False when nothing was.

    `limit` is one of LIMITS; `about` an id, nothing for the budget of SMS.
    """
    act = Act(by=why.by, action="limit.clear", target=f"{limit} {about}".strip(), reason=why.reason)
    if limit == "user":
        return services.limits.clear_user(services.digests.user_place(about), act)
    return services.limits.clear(limit, "all" if limit == "sms_budget" else about, act)


def _check_reset(services: WebServices, reset_id: str) -> None:
    if services.resets.find(reset_id) is None:
        raise NotFoundError


def _check_name(services: WebServices, scope: Scope, name: str) -> None:
    if scope is Scope.ORGANISATION:
        if services.callers.find_organisation(name) is None:
            raise _unknown(scope, name, ())
        return
    providers = [each for names in services.provider_names.values() for each in names]
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


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resent:
    """What came of sending again to one user."""

    user_id: str
    reset_id: str | None
    refusal: str | None  # why there is no reset


def suppress(services: WebServices, recipient: Recipient, why: AuditReason) -> bool:
    """Write to a recipient no more; False when it was suppressed already, for its first reason."""
    return services.suppressions.add_by_hand(
        recipient, _act(services, "suppression.add", recipient, why)
    )


def lift(services: WebServices, recipient: Recipient, why: AuditReason) -> None:
    """Write to a recipient again, from the next reset on.

    Raises:
        NotFoundError: it is not suppressed.
    """
    _lift(services, recipient, why, "suppression.lift")


def lift_and_resend(services: WebServices, recipient: Recipient, why: AuditReason) -> list[Resent]:
    """The same, and a fresh reset for everybody who has this address; one act in the trail.

    All rules of recording hold but the users' cool-downs: somebody has looked at it.

    Raises:
        NotFoundError: it is not suppressed, or nobody has it; nothing was done.
    """
    users = [
        user
        for user in services.directory.find_users_by_address(recipient.address)
        if _has(services, user, recipient)
    ]
    if not users:
        raise NotFoundError("no user in the directory has this address")
    _lift(services, recipient, why, "suppression.lift_and_resend")
    return [_resend_to(services, user, recipient) for user in users]


def _has(services: WebServices, user: User, recipient: Recipient) -> bool:
    own = user.recipient(recipient.channel)
    digest = services.suppressions.digest
    return own is not None and digest(own) == digest(recipient)


def _lift(services: WebServices, recipient: Recipient, why: AuditReason, action: str) -> None:
    act = _act(services, action, recipient, why)
    if not services.suppressions.lift(recipient, act):
        raise NotFoundError(f"{recipient.masked} is not suppressed")
    log.info("suppression.lifted", digest=act.target, by=why.by, reason=why.reason)


def _resend_to(services: WebServices, user: User, recipient: Recipient) -> Resent:
    reset_id = services.digests.new_reset_id(user.user_id)
    try:
        order = ResetRequest(
            user=check_may_reset(user, None),
            organisation=services.callers.find_organisation(user.org_id),
            channel=recipient.channel,
            reset_id=reset_id,
            has_cooldown=False,
        )
        record_reset(services, order)
    except StoreUnavailableError:
        raise
    except CallerError as error:
        return Resent(user.user_id, None, error.message)
    return Resent(user.user_id, reset_id, None)


def _act(services: WebServices, action: str, recipient: Recipient, why: AuditReason) -> Act:
    digest = services.suppressions.digest(recipient)
    return Act(by=why.by, action=action, target=digest, reason=why.reason)


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """What is asked for, decoded but not yet judged."""

    reset_id: str
    type: str | int | None = None  # the enum's name or number; None: the channel of before
    reason: str | None = None
    idempotency_key: str | None = None


@retry_when_rights_change
def resend(services: WebServices, credentials: Credentials, wanted: ResendRequest) -> Recorded:
    """Record a fresh reset for a caller who may write to users of the old one's organisation.

    All rules of recording hold but the user's cool-down: somebody has looked at it.

    Raises:
        CallerError: what stood in the way; nothing was recorded then.
    """
    caller = services.auth.authenticate(credentials)
    old = services.auth.authorize_reset(caller, services.resets.find(wanted.reset_id), USER_WRITE)
    channel = old.channel if wanted.type is None else read_channel(wanted.type)
    reason = check_reason(wanted.reason) if wanted.reason else "no reason was given"
    why = AuditReason(audit_name(caller), reason)

    with (
        record_refusals(services, old.user_id, channel, caller),
        idempotent(
            services,
            caller,
            wanted.idempotency_key,
            user_id=old.user_id,
            meaning=("resend", old.reset_id, channel),
        ) as slot,
    ):
        if slot.known:
            return slot.known
        order = _order(services, old, channel, slot.reset_id, wanted, caller=caller)
        return _record(services, old, order, why)


def resend_by_hand(
    services: WebServices, reset_id: str, channel: Channel | None, why: AuditReason
) -> Recorded:
    """The same for somebody on this machine.

    Raises:
        CallerError: what stood in the way; nothing was recorded then.
    """
    old = services.resets.find(reset_id)
    if old is None:
        raise NotFoundError
    wanted = ResendRequest(reset_id)
    new_id, channel = services.digests.new_reset_id(old.user_id), channel or old.channel
    with record_refusals(services, old.user_id, channel):
        return _record(services, old, _order(services, old, channel, new_id, wanted), why)


def _order(
    services: WebServices,
    old: Reset,
    channel: Channel,
    reset_id: str,
    wanted: ResendRequest,
    *,
    caller: Caller | None = None,
) -> ResetRequest:
    if old.kind is Kind.NOTICE:
        raise ResetStateError("a notice about a changed password is not sent again")
    user = check_may_reset(services.directory.find_user(old.user_id), old.org_id)
    return ResetRequest(
        user=user,
        organisation=services.callers.find_organisation(user.org_id),
        channel=channel,
        reset_id=reset_id,
        caller=caller,
        url_template=old.url_template,
        is_repeatable=wanted.idempotency_key is not None,
        has_cooldown=False,
    )


def _record(services: WebServices, old: Reset, order: ResetRequest, why: AuditReason) -> Recorded:
    """The act is noted first, so that the trail is complete; a refused one stands there too."""
    act = Act(by=why.by, action="reset.resend", target=old.reset_id, reason=why.reason)
    services.audit.record(act)
    return record_reset(services, order)
