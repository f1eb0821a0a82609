"""Why somebody got, or did not get, a message: one verdict in plain words and the next step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.models import Attempt, Kind, Reset, Status


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened, and what to do next."""

    words: str
    next_step: str


NO_REQUEST = Verdict(
    "No request for this user reached Keyturn, or it is older than finished resets are kept.",
    "Look in the calling system: did it call, and what was answered (X-Request-Id)?",
)

REASONS = {
    "superseded": "a newer reset of the same user overtook it",
    "code_used": "the password was changed with another code first",
    "code_voided": "too many wrong codes voided it",
    "code_displaced": "newer codes of the same user displaced it",
    "user_gone": "the directory no longer knows the user",
    "user_locked": "the user is locked",
    "user_inactive": "the user is deactivated",
    "user_initial": "the user is not yet initialised",
    "no_recipient": "the user has no verified address on this channel any more",
    "no_provider": "no provider is configured for this channel",
    "poison": "it ended in an error of ours five times in a row; the logs say which",
    "cannot_render": "the message could not be rendered; the logs say why",
    "key_unknown": "KEYTURN_SECRET_KEYS lacks the key that signs its code",
    "in_doubt": "a provider may have taken it and never said so",
    "no_provider_in_time": "no provider took it before its last possible start",
    "not_sent_in_time": "no worker got to it before the code's life ended",
    "bounce": "mail to this address bounced",
    "opt_out": "the recipient opted out",
    "bad_number": "the number cannot get SMS",
    "complaint": "the recipient complained",
    "blocked": "the receiving server refused this mail, though not the address",
    "quota": "the provider's credits were used up",
    "directory_unavailable": "the user directory does not answer",
}


def judge(reset: Reset, now: datetime) -> Verdict:
    """The verdict on a reset as it stands at `now` (Redis's clock)."""
    if reset.completed_at:
        return Verdict(
            f"The code was used and the password changed at {_at(reset.completed_at)}.",
            "Nothing; if it was not the user, lock the user and look at the callers.",
        )
    return VERDICTS[reset.status](reset, now)


def _queued(reset: Reset, now: datetime) -> Verdict:
    age = round((now - reset.created_at).total_seconds())
    return Verdict(
        f"It has been waiting in the {reset.queue.value} queue for {age} s.",
        "See `keyturn status`: is a worker seen, and how old is the oldest?",
    )


def _sending(_reset: Reset, _now: datetime) -> Verdict:
    return Verdict("A worker is handing it to a provider right now.", "Look again in a moment.")


def _retrying(reset: Reset, _now: datetime) -> Verdict:
    if reset.next_look_at and reset.next_look_at >= reset.deadline_at:
        end = _at(reset.deadline_at)
        step = f"No further attempt fits in; it expires at {end}. Ask for a new one."
    else:
        step = f"Wait: the next attempt is due at {_at(reset.next_look_at)}."
    return Verdict(f"{_last_attempt(reset)}. It is retried until {_at(reset.deadline_at)}.", step)


def _in_doubt(reset: Reset, _now: datetime) -> Verdict:
    return Verdict(
        f"{_last_attempt(reset)}: the provider may have it.",
        f"Wait: it is looked at again at {_at(reset.next_look_at)}; "
        "a second copy carries the same code.",
    )


def _accepted(reset: Reset, now: datetime) -> Verdict:
    if reset.kind is Kind.RETURNED:
        return Verdict(
            "The code was returned to the caller; Keyturn sent nothing.",
            "Ask the calling system what it did with the code.",
        )
    last = reset.attempts[-1] if reset.attempts else None
    provider, number = (last.provider, last.provider_message_id) if last else ("a provider", None)
    taken = _at(last.finished_at) if last else "an unknown time"
    return Verdict(
        f"{provider} took it at {taken} (its message id: {number or 'none given'}).",
        _ask_again(reset, now),
    )


def _delivered(reset: Reset, now: datetime) -> Verdict:
    return Verdict("The provider says it arrived.", _ask_again(reset, now))


def _failed(reset: Reset, _now: datetime) -> Verdict:
    tried = f"{_last_attempt(reset)}. " if reset.attempts else ""
    return Verdict(
        f"It failed for good: {_why(reset)}.", f"{tried}Mend that, then ask for a new reset."
    )


def _undelivered(reset: Reset, _now: datetime) -> Verdict:
    return Verdict(
        f"A provider took it, but it did not arrive: {_why(reset)}.",
        "Check the address with the user, then ask for a new reset, or try the other channel.",
    )


def _suppressed(reset: Reset, _now: datetime) -> Verdict:
    return Verdict(
        f"Nothing was sent: {_why(reset)}, so this address is not written to.",
        "Check the address with the user; correct it in the directory, or lift the suppression: "
        "`keyturn suppression lift`.",
    )


def _expired(reset: Reset, _now: datetime) -> Verdict:
    return Verdict(
        f"The code's life ended first: {_why(reset)}.",
        "Ask for a new reset; look at `keyturn status` if many expired.",
    )


def _cancelled(reset: Reset, _now: datetime) -> Verdict:
    return Verdict(f"It was cancelled: {_why(reset)}.", "Explain the user's newest reset instead.")


VERDICTS: dict[Status, Callable[[Reset, datetime], Verdict]] = {
    Status.QUEUED: _queued,
    Status.SENDING: _sending,
    Status.RETRYING: _retrying,
    Status.UNKNOWN: _in_doubt,
    Status.ACCEPTED: _accepted,
    Status.DELIVERED: _delivered,
    Status.UNDELIVERED: _undelivered,
    Status.FAILED: _failed,
    Status.SUPPRESSED: _suppressed,
    Status.EXPIRED: _expired,
    Status.CANCELLED: _cancelled,
}


def _ask_again(reset: Reset, now: datetime) -> str:
    if now >= reset.deadline_at:
        return f"The code expired at {_at(reset.deadline_at)}; the user asks for a new one."
    end = _at(reset.deadline_at)
    return f"The user looks for it, in the spam folder too; the code works until {end}."


def _last_attempt(reset: Reset) -> str:
    if not reset.attempts:
        return "No attempt was made yet"
    last: Attempt = reset.attempts[-1]
    outcome = last.outcome.value if last.outcome else "under way"
    detail = f" ({last.detail})" if last.detail else ""
    return f"Attempt {last.number} at {last.provider} ended as {outcome}{detail}"


def _why(reset: Reset) -> str:
    if reset.reason in REASONS:
        return REASONS[reset.reason]
    told = [each.detail for each in reset.events if each.type in ("undelivered", "failed")]
    detail = told[-1] if told else reset.attempts[-1].detail if reset.attempts else None
    return detail or reset.reason or "no reason was noted"


def _at(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"
