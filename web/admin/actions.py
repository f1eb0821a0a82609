"""The operator's actions: pause, resume, hold, clear, lift, resend; each is audited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from shared.errors import (
    CallerError,
    InvalidRequestError,
    NotFoundError,
    ResetStateError,
    StoreUnavailableError,
)
from shared.models import DUE_QUEUES, Caller, Channel, Kind, Recipient, Reset, User
from shared.organisations.sender import OWN
from shared.policies import check_may_reset, provider_names
from shared.recording import ResetRequest, record_refusals, record_reset
from shared.store.admin.audit import Act
from shared.store.admin.pauses import Scope
from shared.store.resets import Recorded
from web.auth import USER_WRITE, Credentials, audit_name, retry_when_rights_change
from web.idempotency import idempotent
from web.resets import read_channel
from web.services import WebServices

log = structlog.get_logger()

MAX_REASON_CHARACTERS = 500
NO_RESET = "there is no reset with that id, or its record has expired"
LIMITS = ("user", "organisation", "caller", "sms_budget")


@dataclass(frozen=True, slots=True)
class AuditReason:
    """Who acts, and why."""

    by: str
    reason: str

    def act(self, action: str, target: str) -> Act:
        """Return an act of theirs."""
        return Act(by=self.by, action=action, target=target, reason=self.reason)


def check_reason(reason: str | None) -> str:
    """Return the reason without what could steer a terminal.

    Raises:
        InvalidRequestError: it is empty or too long.
    """
    reason = (reason or "").strip()
    if not 1 <= len(reason) <= MAX_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason must have 1 to {MAX_REASON_CHARACTERS} characters")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in reason)


def pause(services: WebServices, scope: Scope, name: str, why: AuditReason) -> bool:
    """Pause a queue, channel, provider or organisation; return False if it is paused already.

    Raises:
        NotFoundError: it does not exist.
    """
    _check_name(services, scope, name)
    with services.audit.acting(why.act(f"{scope}.pause", name)) as ending:
        is_new = services.pauses.pause(scope, name, by=why.by, reason=why.reason)
        if not is_new:
            ending["outcome"] = "refused: it is paused already"
    return is_new


def resume(
    services: WebServices, scope: Scope, name: str, why: AuditReason, *, per_second: float = 0
) -> bool:
    """Resume, and release what waits at once (0) or at a rate; return False if it is not paused.

    Raises:
        NotFoundError: neither it nor a pause of it exists.
    """
    if (scope, name) not in {(each.scope, each.name) for each in services.pauses.all()}:
        _check_name(services, scope, name)
    with services.audit.acting(why.act(f"{scope}.resume", name)):
        return services.pauses.resume(
            scope, name, by=why.by, reason=why.reason, per_second=per_second
        )


def hold(services: WebServices, reset_id: str, why: AuditReason) -> None:
    """Hold a reset until it is released or expires.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it is too late.
    """
    _check_reset(services, reset_id)
    with services.audit.acting(why.act("reset.hold", reset_id)):
        answer = services.waiting.hold(reset_id, by=why.by, reason=why.reason)
        if answer != "held":
            raise ResetStateError(f"the reset is {answer}: it cannot be held any more")


def release(services: WebServices, reset_id: str, why: AuditReason) -> None:
    """Release a held reset.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it is not held.
    """
    _check_reset(services, reset_id)
    with services.audit.acting(why.act("reset.release", reset_id)):
        if services.waiting.release(reset_id, by=why.by, reason=why.reason) != "released":
            raise ResetStateError("the reset is not held")


def void(services: WebServices, reset_id: str, why: AuditReason) -> None:
    """End a code before its time; its message is not sent if it is still waiting.

    Raises:
        NotFoundError: there is no such reset. ResetStateError: it has no code that works.
    """
    reset = services.resets.find(reset_id)
    if reset is None:
        raise NotFoundError(NO_RESET)
    with services.audit.acting(why.act("reset.void", reset_id)):
        answer = services.code_store.end_code(
            reset.user_id,
            reset_id,
            "voided_by_operator",
            detail=f"by {why.by}: {why.reason}",
        )
        if answer != "ended":
            words = {"notice": "it is a notice", "held": "it is being used right now"}
            over = words.get(answer, f"it is over already ({answer.replace('_', ' ')})")
            raise ResetStateError(f"the code of this reset cannot be voided: {over}")


def clear_limit(services: WebServices, limit: str, about: str, why: AuditReason) -> dict[str, int]:
    """Clear what a limit counts; return what was in force, by name.

    `limit` is one of LIMITS; `about` is an id, empty for the SMS budget.
    """
    with services.audit.acting(why.act("limit.clear", f"{limit} {about}".strip())):
        if limit == "user":
            return services.limits.clear_user(services.digests.user_place(about))
        return services.limits.clear(limit, "all" if limit == "sms_budget" else about)


def _check_reset(services: WebServices, reset_id: str) -> None:
    if services.resets.find(reset_id) is None:
        raise NotFoundError(NO_RESET)


def known_providers(services: WebServices, like: str = "") -> list[str]:
    """Return the names of the configured providers, and those of the organisation of `like`."""
    names = [each for names in services.provider_names.values() for each in names]
    if like.startswith(OWN):
        org_id = like.removeprefix(OWN).rpartition(":")[0]
        organisation = services.callers.find_organisation(org_id)
        names += [each for channel in Channel for each in provider_names(organisation, channel, ())]
    return list(dict.fromkeys(names))


def _check_name(services: WebServices, scope: Scope, name: str) -> None:
    known: list[str] = []
    match scope:
        case Scope.QUEUE:
            known = [queue.value for queue in DUE_QUEUES]
        case Scope.CHANNEL:
            known = [channel.value for channel in Channel]
        case Scope.PROVIDER:
            known = known_providers(services, name)
        case Scope.ORGANISATION:
            if services.callers.find_organisation(name) is not None:
                return
    if name not in known:
        names = f"; there are {', '.join(known)}" if known else ""
        raise NotFoundError(f"there is no {scope} {name!r}{names}")


@dataclass(frozen=True, slots=True)
class Resent:
    """The fresh reset of a user, or why there is none."""

    user_id: str
    reset_id: str | None
    refusal: str | None


def suppress(services: WebServices, recipient: Recipient, why: AuditReason) -> bool:
    """Suppress a recipient; return False if it is suppressed already, for its first reason."""
    act = why.act("suppression.add", services.suppressions.digest(recipient))
    with services.audit.acting(act) as ending:
        is_new = services.suppressions.add_by_hand(recipient, by=why.by, reason=why.reason)
        if not is_new:
            ending["outcome"] = "refused: it is suppressed already"
    return is_new


def lift(services: WebServices, recipient: Recipient, why: AuditReason) -> None:
    """Lift a suppression; raise NotFoundError if there is none."""
    _lift(services, recipient, why, "suppression.lift", [])


def lift_digest(services: WebServices, digest: str, why: AuditReason) -> None:
    """Lift a suppression by its recipient's digest; raise NotFoundError if there is none."""
    with services.audit.acting(why.act("suppression.lift", digest)):
        if not services.suppressions.lift_digest(digest):
            raise NotFoundError("this recipient is not suppressed")
        log.info("suppression.lifted", digest=digest, by=why.by, reason=why.reason)


def lift_and_resend(services: WebServices, recipient: Recipient, why: AuditReason) -> list[Resent]:
    """Lift a suppression, and record a fresh reset for every user with this address.

    It is one act in the audit trail. The users' cool-downs do not apply; other limits do.

    Raises:
        NotFoundError: it is not suppressed, or no user has it; nothing was done.
    """
    digest = services.suppressions.digest
    users = [
        user
        for user in services.directory.find_users_by_address(recipient.address)
        if (own := user.recipient(recipient.channel)) and digest(own) == digest(recipient)
    ]
    if not users:
        raise NotFoundError("no user in the directory has this address")
    return _lift(services, recipient, why, "suppression.lift_and_resend", users)


def _lift(
    services: WebServices,
    recipient: Recipient,
    why: AuditReason,
    action: str,
    users: Sequence[User],
) -> list[Resent]:
    if services.suppressions.find(recipient) is None:
        raise NotFoundError(f"{recipient.masked} is not suppressed")
    digest = services.suppressions.digest(recipient)
    with services.audit.acting(why.act(action, digest)):
        services.suppressions.lift(recipient)
        log.info("suppression.lifted", digest=digest, by=why.by, reason=why.reason)
        return [_resend_to(services, user, recipient) for user in users]


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


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """A resend as the wire said it, not yet checked."""

    reset_id: str
    type: str | int | None = None  # the enum's name or number; None: the same channel
    reason: str | None = None
    idempotency_key: str | None = None


@retry_when_rights_change
def resend(services: WebServices, credentials: Credentials, wanted: ResendRequest) -> Recorded:
    """Record a fresh reset for a caller with `user.write` in the old one's organisation.

    The user's cool-down does not apply; other limits do.

    Raises:
        CallerError: why nothing was recorded.
    """
    caller = services.auth.authenticate(credentials)
    old = services.auth.authorize_reset(caller, services.resets.find(wanted.reset_id), USER_WRITE)
    channel = old.channel if wanted.type is None else read_channel(wanted.type)
    reason = check_reason(wanted.reason) if wanted.reason else "no reason was given"
    why = AuditReason(audit_name(caller), reason)

    with (
        record_refusals(services, old.user_id, channel, caller) as refused,
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
        refused.organisation = services.callers.find_organisation(old.org_id)
        with services.audit.acting(why.act("reset.resend", old.reset_id)):
            order = _order(services, old, channel, slot.reset_id, wanted, caller=caller)
            order = replace(order, idempotency=slot.digest)
            return record_reset(services, order)


def resend_by_hand(
    services: WebServices, reset_id: str, channel: Channel | None, why: AuditReason
) -> Recorded:
    """Record a fresh reset for an operator on this machine.

    Raises:
        CallerError: why nothing was recorded.
    """
    old = services.resets.find(reset_id)
    if old is None:
        raise NotFoundError(NO_RESET)
    wanted = ResendRequest(reset_id)
    new_id, channel = services.digests.new_reset_id(old.user_id), channel or old.channel
    act = why.act("reset.resend", old.reset_id)
    with record_refusals(services, old.user_id, channel), services.audit.acting(act):
        return record_reset(services, _order(services, old, channel, new_id, wanted))


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
