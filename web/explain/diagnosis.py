"""Why somebody got, or did not get, a message: one verdict in plain words and the next action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared.models import Channel, EventType, Kind, Outcome, Queue, Reset, Status
from shared.store.admin.pauses import Pause
from shared.store.admin.refusals import Refusal
from shared.store.due_sets import NO_PROVIDER
from web.explain.model import Evidence, Verdict, VerdictKind
from web.explain.wording import LIMITS, REASONS, at, last_attempt, last_start, length, why

LEFT_ALONE = "circuit_open"
OVERDUE = timedelta(seconds=2)


def diagnose_waiting(facts: Evidence, reset: Reset) -> Verdict:
    """Where it waits, how long, for what, and what ends the waiting."""
    if reset.status is Status.SENDING:
        words = "A worker is handing it to a provider right now."
        return Verdict(VerdictKind.WAITING, words, "Look again in a moment.")
    if reset.is_held:
        return _held(facts, reset)
    candidates = facts.providers if reset.reason == NO_PROVIDER else ()
    pause = next((each for each in facts.pauses if each.covers(reset, candidates)), None)
    if pause:
        return _paused(facts, reset, pause)
    if reset.reason == "paced":
        return _paced(facts, reset)
    if reset.reason == "batch_paused":
        return _batch_paused(facts, reset)
    return _retrying(reset) if reset.status is Status.RETRYING else _queued(facts, reset)


def _where(facts: Evidence, reset: Reset) -> str:
    age = length(facts.now - reset.created_at)
    return f"It has been waiting in the {reset.queue.value} queue for {age}"


def _held(facts: Evidence, reset: Reset) -> Verdict:
    told = next((e for e in reversed(reset.events) if e.type == "held"), None)
    by = f" at {at(told.at)}, {told.detail}" if told else ""
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: it is held{by}.",
        f"`keyturn reset release {reset.reset_id} --reason …`, before {at(reset.deadline_at)}.",
    )


def _paused(facts: Evidence, reset: Reset, pause: Pause) -> Verdict:
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: the {pause.scope} {pause.name} has been paused by {pause.by} "
        f"since {at(pause.since)} ({pause.reason}).",
        f"`keyturn resume {pause.scope} {pause.name} --reason …`; its code ends at "
        f"{at(reset.deadline_at)} all the same.",
    )


def _paced(facts: Evidence, reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: what was paused is let go at a pace.",
        f"Wait: its turn is at {at(reset.next_look_at)}; another `keyturn resume … --rate N` "
        "changes the pace.",
    )


def _batch_paused(facts: Evidence, reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: {REASONS['batch_paused']}.",
        f"`keyturn batch resume {reset.batch_id}`; its code ends at {at(reset.deadline_at)} all "
        "the same.",
    )


def _retrying(reset: Reset) -> Verdict:
    if reset.next_look_at and reset.next_look_at >= reset.deadline_at:
        step = f"No further attempt fits in; it expires at {at(reset.deadline_at)}. Ask for a new "
        step += "one, on the other channel perhaps."
    else:
        step = f"Nothing: the next attempt is due at {at(reset.next_look_at)} by itself."
    until = f"It is tried again until {at(last_start(reset))}."
    if reset.reason == LEFT_ALONE:
        until = f"Now {REASONS[LEFT_ALONE]} (`keyturn provider list`). {until}"
    return Verdict(VerdictKind.RETRYING, f"{last_attempt(reset)}. {until}", step)


def _queued(facts: Evidence, reset: Reset) -> Verdict:
    reason = f": {REASONS[reset.reason]}" if reset.reason in REASONS else ""
    if not facts.workers:
        words = f"{_where(facts, reset)}, and no worker of that queue was seen lately."
        queues = {Queue.URGENT: "urgent,receipts"}.get(reset.queue, "bulk,webhooks")
        step = f"Start one: `python -m worker --queues {queues}`."
    elif reset.reason == LEFT_ALONE:
        words = f"{_where(facts, reset)}{reason} ({', '.join(facts.providers)})."
        step = "Nothing: it goes out by itself once one works again, until "
        step += f"{at(last_start(reset))}; `keyturn provider list` says how they are."
    elif reset.next_look_at and facts.now - reset.next_look_at > OVERDUE:
        words = f"{_where(facts, reset)}, and no worker has come to it yet."
        step = "The queue is behind: `keyturn status` says how far and why. It goes out by itself, "
        step += f"until {at(last_start(reset))}."
    else:
        words = f"{_where(facts, reset)}{reason}."
        step = f"Its next look is due at {at(reset.next_look_at)}; `keyturn status` says what "
        step += "holds the queue up."
    return Verdict(VerdictKind.WAITING, words, step)


# Most receipts of a channel are there by then.
RECEIPT_AFTER = {Channel.EMAIL: timedelta(minutes=5), Channel.SMS: timedelta(minutes=2)}
BLOCKED = {"twilio_21408", "twilio_30004", "twilio_30007"}
SENT = {
    Status.SUPPRESSED: "Nothing was sent",
    Status.UNDELIVERED: "It came back",
    Status.FAILED: "It failed for good",
}
OTHER_CHANNEL = {Channel.EMAIL: "sms", Channel.SMS: "email"}


def diagnose_arrival(facts: Evidence, reset: Reset) -> Verdict:
    """A provider took it: what it said since, and what the person did."""
    if reset.opened_at:
        return _opened(facts, reset)
    if reset.status is Status.DELIVERED:
        return _delivered(facts, reset)
    last = reset.events[-1] if reset.events else None
    if last and last.type == EventType.DEFERRED:
        return Verdict(
            VerdictKind.DEFERRED,
            f"{last.provider} has it and has been waiting since {at(last.at)}: "
            f"{last.detail or 'the receiving server does not take it yet'}.",
            _look_for_it(facts, reset, "Wait: the provider goes on trying by itself"),
        )
    return _taken(facts, reset)


def _opened(facts: Evidence, reset: Reset) -> Verdict:
    words = f"The right code was entered at {at(reset.opened_at)}, and no new password was set."
    if facts.now >= reset.deadline_at:
        step = f"The code expired at {at(reset.deadline_at)}; the user asks for a new one."
    else:
        step = f"The user goes on with the same link; it works until {at(reset.deadline_at)}."
    return Verdict(VerdictKind.OVER, words, step)


def _delivered(facts: Evidence, reset: Reset) -> Verdict:
    told = next((e for e in reversed(reset.events) if e.type == EventType.DELIVERED), None)
    when = at(told.at) if told else "an unknown time"
    who = told.provider if told else "The provider"
    words = f"{who} says it arrived at {when}, at {facts.recipient or 'an address of before'}."
    if facts.now < reset.deadline_at:
        return Verdict(VerdictKind.DELIVERED, words, _look_for_it(facts, reset, "It is there"))
    return Verdict(
        VerdictKind.OVER,
        f"{words} The code expired at {at(reset.deadline_at)} unused.",
        "The user asks for a new one.",
    )


def _taken(facts: Evidence, reset: Reset) -> Verdict:
    last = reset.attempts[-1] if reset.attempts else None
    provider, number = (last.provider, last.provider_message_id) if last else ("a provider", None)
    taken_at = last.finished_at if last else None
    words = f"{provider} took it at {at(taken_at)} (its message id: {number or 'none given'})"
    if not facts.is_heard:
        words += "; it tells us no more."
        begin = "Whether it arrived stands in the provider's own log"
    elif taken_at and facts.now - taken_at > RECEIPT_AFTER[reset.channel]:
        words += f" and has said nothing since; that is late, after {length(facts.now - taken_at)}."
        begin = "Look that id up at the provider; are callbacks coming in (`keyturn status`)?"
    else:
        words += " and has said nothing since; that is normal so early."
        begin = "Wait a few minutes"
    return Verdict(VerdictKind.ACCEPTED, words, _look_for_it(facts, reset, begin))


def _look_for_it(facts: Evidence, reset: Reset, begin: str) -> str:
    if facts.now >= reset.deadline_at:
        return f"The code expired at {at(reset.deadline_at)}; the user asks for a new one."
    joint = "" if begin.endswith("?") else "."
    place = "looks in the spam folder too" if reset.channel is Channel.EMAIL else "looks again"
    return f"{begin}{joint} The user {place}; the code works until {at(reset.deadline_at)}."


def diagnose_failure(facts: Evidence, reset: Reset) -> Verdict:
    """It did not arrive and will not: the address, the number, or something else."""
    suppression = facts.suppression
    if reset.reason == "no_recipient":
        words = f"Nothing was sent: {why(reset)}."
        return Verdict(VerdictKind.NO_ADDRESS, words, _add_address(reset))
    if reset.reason in BLOCKED or (suppression and suppression.reason == "bad_number"):
        return Verdict(
            VerdictKind.BLOCKED,
            f"The SMS did not go through: {why(reset)}.",
            "Check the number with the user, and the country at the provider and in "
            f"KEYTURN_SMS_COUNTRIES; {_the_other_way(reset)}.",
        )
    if suppression or reset.status in (Status.UNDELIVERED, Status.SUPPRESSED):
        return _bounced(facts, reset)
    tried = f"{last_attempt(reset)}. " if reset.attempts else ""
    return Verdict(
        VerdictKind.FAILED,
        f"It failed for good: {why(reset)}.",
        f"{tried}Mend that, then `keyturn reset resend {reset.reset_id} --reason …`.",
    )


def _bounced(facts: Evidence, reset: Reset) -> Verdict:
    words, step = f"{SENT[reset.status]}: {why(reset)}.", "Check the address with the user"
    if found := facts.suppression:
        reason = REASONS.get(found.reason, found.reason)
        words += f" {facts.recipient or 'The address'} is not written to since {at(found.since)} "
        words += f"({reason}, says {found.source})."
        step += " and correct it in the directory; is it right, `keyturn suppression lift ADDRESS "
        step += "--reason …`"
    return Verdict(VerdictKind.BOUNCED, words, f"{step}; or {_the_other_way(reset)}.")


def _the_other_way(reset: Reset) -> str:
    other = OTHER_CHANNEL[reset.channel]
    return f"`keyturn reset resend {reset.reset_id} --channel {other} --reason …`"


def _add_address(reset: Reset) -> str:
    what = "an e-mail address" if reset.channel is Channel.EMAIL else "a phone number"
    return f"Give the user {what} in the directory and verify it; or {_the_other_way(reset)}."


WORDS = {
    "RecipientMissing": (VerdictKind.NO_ADDRESS, "the user has no verified address there"),
    "CountryNotAllowed": (VerdictKind.BLOCKED, "SMS to the country of that number are not allowed"),
    "RecipientSuppressed": (VerdictKind.BOUNCED, "the address is not written to"),
    "ProviderMissing": (VerdictKind.REFUSED, "no provider is configured for that channel"),
    "UserInactive": (VerdictKind.REFUSED, "the user is locked or deactivated"),
    "UserNotInitialised": (VerdictKind.REFUSED, "the user is not yet initialised"),
    "ResetUserNotInitialised": (VerdictKind.REFUSED, "the user is not yet initialised"),
    "MachineUser": (VerdictKind.REFUSED, "the user is a machine"),
    "UrlNotAllowed": (VerdictKind.REFUSED, "the caller's link leads to a host that is not allowed"),
}
STEPS = {
    "RecipientMissing": "Give the user a verified address in the directory, or ask on the other "
    "channel.",
    "CountryNotAllowed": "Ask by e-mail, or add the country to KEYTURN_SMS_COUNTRIES.",
    "RecipientSuppressed": "Check the address with the user and correct it in the directory; is it "
    "right, `keyturn suppression lift ADDRESS --reason …`.",
    "ProviderMissing": "Set KEYTURN_EMAIL_PROVIDERS or KEYTURN_SMS_PROVIDERS, or ask on the other "
    "channel.",
    "UserInactive": "Activate the user in the directory, then ask again.",
    "UserNotInitialised": "The user finishes signing up first.",
    "ResetUserNotInitialised": "The user finishes signing up first.",
    "MachineUser": "A machine has no password; give it a token instead.",
    "UrlNotAllowed": "Add the host to the organisation (`keyturn org add … --link-host`) or to "
    "KEYTURN_LINK_HOSTS.",
}
CHANNELS = {Channel.EMAIL: " by e-mail", Channel.SMS: " by SMS", None: ""}


def diagnose_refusal(facts: Evidence) -> Verdict:
    """The last request was refused."""
    refusal = facts.refusals[0]
    if refusal.word == "TooManyRequests":
        return _limited(facts, refusal)
    kind, words = WORDS[refusal.word]
    if refusal.word == "RecipientSuppressed" and (found := facts.suppression):
        reason = REASONS.get(found.reason, found.reason)
        words = f"{facts.recipient or 'the address'} is not written to since {at(found.since)} "
        words += f"({reason}, says {found.source})"
    step = STEPS[refusal.word]
    if facts.obstacle is None and refusal.word != "UrlNotAllowed":
        step = f"That has been mended: ask again now. ({step})"
    return Verdict(kind, f"{_asked(refusal)} was refused: {words}.", step)


def _limited(facts: Evidence, refusal: Refusal) -> Verdict:
    which = LIMITS.get(refusal.limit, refusal.limit)
    words = f"{_asked(refusal)} was refused by a limit: {which}"
    options = {
        "organisation": f"--org {facts.org_id}",
        "caller": f"--caller {refusal.caller_id}",
        "sms_budget": "--sms-budget",
    }
    option = options.get(refusal.limit, f"--user {facts.user_id}")
    if facts.now >= refusal.until:
        return Verdict(
            VerdictKind.LIMITED, f"{words}, until {at(refusal.until)}.", "That is over: ask again."
        )
    return Verdict(
        VerdictKind.LIMITED,
        f"{words}, until {at(refusal.until)}.",
        f"Wait until then, or `keyturn limit clear {option} --reason …`.",
    )


def diagnose_silence(facts: Evidence) -> Verdict:
    """Nothing was recorded and nothing refused."""
    words = (
        "No request for this user reached Keyturn, or it is older than finished resets are kept."
    )
    if facts.obstacle in WORDS:
        words += f" By the way, one would be refused now: {WORDS[facts.obstacle][1]}."
    step = "Look in the calling system: did it call, and what was answered (X-Request-Id)?"
    return Verdict(VerdictKind.NO_REQUEST, words, step)


def _asked(refusal: Refusal) -> str:
    often = f" ({refusal.times} times since {at(refusal.since)})" if refusal.times > 1 else ""
    named = f", request {refusal.request_id}," if refusal.request_id else ""
    return f"The request{CHANNELS[refusal.channel]} at {at(refusal.at)}{often}{named}"


ALIVE = {
    *(Status.QUEUED, Status.SENDING, Status.RETRYING, Status.UNKNOWN),
    *(Status.ACCEPTED, Status.DELIVERED),
}

TWO_COPIES = (
    "It may have come twice, for an attempt ended in doubt; both copies carry the same code."
)


def diagnose(facts: Evidence) -> Verdict:
    """The verdict on what somebody asks about."""
    reset = facts.reset
    if reset is None:
        return diagnose_refusal(facts) if facts.refusals else diagnose_silence(facts)
    if _was_refused_since(facts, reset):
        return diagnose_refusal(facts)
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


def _was_refused_since(facts: Evidence, reset: Reset) -> bool:
    """True when the newest fact is a refusal, and the reset before it can no longer help."""
    if not facts.refusals or facts.refusals[0].at < reset.created_at:
        return False
    is_usable = facts.now < reset.deadline_at and not reset.completed_at
    return not (is_usable and reset.status in ALIVE)


def _in_doubt(_: Evidence, reset: Reset) -> Verdict:
    if reset.next_look_at and reset.next_look_at < reset.deadline_at:
        step = f"Wait: it is looked at again at {at(reset.next_look_at)}, and perhaps sent once "
        step += "more; both copies carry the same code."
    else:
        step = "No further copy goes out by itself: the provider's report settles it, or it ends "
        step += f"at {at(reset.deadline_at)}. Did nothing arrive: "
        step += f"`keyturn reset resend {reset.reset_id} --reason …`."
    return Verdict(VerdictKind.RETRYING, f"{last_attempt(reset)}.", step)


def _accepted(facts: Evidence, reset: Reset) -> Verdict:
    if reset.kind is Kind.RETURNED:
        return Verdict(
            VerdictKind.ACCEPTED,
            "The code was returned to the caller; Keyturn sent nothing.",
            "Ask the calling system what it did with the code.",
        )
    return diagnose_arrival(facts, reset)


def _expired(_: Evidence, reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.OVER,
        f"The code's life ended first, at {at(reset.deadline_at)}: {why(reset)}.",
        "Ask for a new reset; look at `keyturn status` if many expired.",
    )


def _cancelled(_: Evidence, reset: Reset) -> Verdict:
    step = "Explain the user's newest reset instead: `keyturn explain --user ID`."
    if reset.reason == "batch_cancelled":
        step = f"`keyturn audit` says who cancelled batch {reset.batch_id}; ask for a new reset."
    return Verdict(VerdictKind.OVER, f"It was cancelled: {why(reset)}.", step)


VERDICTS: dict[Status, Callable[[Evidence, Reset], Verdict]] = {
    Status.QUEUED: diagnose_waiting,
    Status.SENDING: diagnose_waiting,
    Status.RETRYING: diagnose_waiting,
    Status.UNKNOWN: _in_doubt,
    Status.ACCEPTED: _accepted,
    Status.DELIVERED: diagnose_arrival,
    Status.UNDELIVERED: diagnose_failure,
    Status.FAILED: diagnose_failure,
    Status.SUPPRESSED: diagnose_failure,
    Status.EXPIRED: _expired,
    Status.CANCELLED: _cancelled,
}
