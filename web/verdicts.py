"""Why somebody got, or did not get, a message: one verdict in plain words and the next action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shared.models import Kind, Outcome, Reset, Status
from web.facts import Facts, Verdict, VerdictKind
from web.verdict_words import at, last_attempt, why
from web.verdicts_arrival import judge_arrival, judge_failure
from web.verdicts_refusal import judge_refusal, judge_silence
from web.verdicts_waiting import judge_waiting

ALIVE = {
    *(Status.QUEUED, Status.SENDING, Status.RETRYING, Status.UNKNOWN),
    *(Status.ACCEPTED, Status.DELIVERED),
}

TWO_COPIES = (
    "It may have come twice, for an attempt ended in doubt; both copies carry the same code."
)


def judge(facts: Facts) -> Verdict:
    """The verdict on what somebody asks about."""
    reset = facts.reset
    if reset is None:
        return judge_refusal(facts) if facts.refusals else judge_silence(facts)
    if _was_refused_since(facts, reset):
        return judge_refusal(facts)
    verdict = _over(reset) if reset.completed_at else VERDICTS[reset.status](facts, reset)
    if not _may_have_two_copies(reset):
        return verdict
    return replace(verdict, words=f"{verdict.words} {TWO_COPIES}")


def _over(reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.OVER,
        f"The code was used and the password changed at {at(reset.completed_at)}.",
        "Nothing; if it was not the user, lock the user and look at the callers.",
    )


def _may_have_two_copies(reset: Reset) -> bool:
    outcomes = [attempt.outcome for attempt in reset.attempts]
    return outcomes.count(Outcome.DOUBT) > 1 or {Outcome.DOUBT, Outcome.ACCEPTED} <= set(outcomes)


def _was_refused_since(facts: Facts, reset: Reset) -> bool:
    """True when the newest fact is a refusal, and the reset before it can no longer help."""
    if not facts.refusals or facts.refusals[0].at < reset.created_at:
        return False
    is_usable = facts.now < reset.deadline_at and not reset.completed_at
    return not (is_usable and reset.status in ALIVE)


def _in_doubt(_: Facts, reset: Reset) -> Verdict:
    if reset.next_look_at and reset.next_look_at < reset.deadline_at:
        step = f"Wait: it is looked at again at {at(reset.next_look_at)}, and perhaps sent once "
        step += "more; both copies carry the same code."
    else:
        step = "No further copy goes out by itself: the provider's report settles it, or it ends "
        step += f"at {at(reset.deadline_at)}. Did nothing arrive: "
        step += f"`keyturn reset resend {reset.reset_id} --reason …`."
    return Verdict(VerdictKind.RETRYING, f"{last_attempt(reset)}.", step)


def _accepted(facts: Facts, reset: Reset) -> Verdict:
    if reset.kind is Kind.RETURNED:
        return Verdict(
            VerdictKind.ACCEPTED,
            "The code was returned to the caller; Keyturn sent nothing.",
            "Ask the calling system what it did with the code.",
        )
    return judge_arrival(facts, reset)


def _expired(_: Facts, reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.OVER,
        f"The code's life ended first, at {at(reset.deadline_at)}: {why(reset)}.",
        "Ask for a new reset; look at `keyturn status` if many expired.",
    )


def _cancelled(_: Facts, reset: Reset) -> Verdict:
    step = "Explain the user's newest reset instead: `keyturn explain --user ID`."
    if reset.reason == "batch_cancelled":
        step = f"`keyturn audit` says who cancelled batch {reset.batch_id}; ask for a new reset."
    return Verdict(VerdictKind.OVER, f"It was cancelled: {why(reset)}.", step)


VERDICTS: dict[Status, Callable[[Facts, Reset], Verdict]] = {
    Status.QUEUED: judge_waiting,
    Status.SENDING: judge_waiting,
    Status.RETRYING: judge_waiting,
    Status.UNKNOWN: _in_doubt,
    Status.ACCEPTED: _accepted,
    Status.DELIVERED: judge_arrival,
    Status.UNDELIVERED: judge_failure,
    Status.FAILED: judge_failure,
    Status.SUPPRESSED: judge_failure,
    Status.EXPIRED: _expired,
    Status.CANCELLED: _cancelled,
}
