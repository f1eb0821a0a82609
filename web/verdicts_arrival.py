"""Verdicts on a reset that went out, or never will: arrived or not, and who says so."""

from __future__ import annotations

from datetime import timedelta

from shared.callback_events import EventType
from shared.models import Channel, Reset, Status
from web.facts import Facts, Verdict, VerdictKind
from web.verdict_words import REASONS, at, last_attempt, length, why

# Most receipts of a channel are there by then.
RECEIPT_AFTER = {Channel.EMAIL: timedelta(minutes=5), Channel.SMS: timedelta(minutes=2)}
BLOCKED = {"twilio_21408", "twilio_30004", "twilio_30007"}
SENT = {
    Status.SUPPRESSED: "Nothing was sent",
    Status.UNDELIVERED: "It came back",
    Status.FAILED: "It failed for good",
}
OTHER_CHANNEL = {Channel.EMAIL: "sms", Channel.SMS: "email"}


def judge_arrival(facts: Facts, reset: Reset) -> Verdict:
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


def _opened(facts: Facts, reset: Reset) -> Verdict:
    words = f"The right code was entered at {at(reset.opened_at)}, and no new password was set."
    if facts.now >= reset.deadline_at:
        step = f"The code expired at {at(reset.deadline_at)}; the user asks for a new one."
    else:
        step = f"The user goes on with the same link; it works until {at(reset.deadline_at)}."
    return Verdict(VerdictKind.OVER, words, step)


def _delivered(facts: Facts, reset: Reset) -> Verdict:
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


def _taken(facts: Facts, reset: Reset) -> Verdict:
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


def _look_for_it(facts: Facts, reset: Reset, begin: str) -> str:
    if facts.now >= reset.deadline_at:
        return f"The code expired at {at(reset.deadline_at)}; the user asks for a new one."
    joint = "" if begin.endswith("?") else "."
    place = "looks in the spam folder too" if reset.channel is Channel.EMAIL else "looks again"
    return f"{begin}{joint} The user {place}; the code works until {at(reset.deadline_at)}."


def judge_failure(facts: Facts, reset: Reset) -> Verdict:
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


def _bounced(facts: Facts, reset: Reset) -> Verdict:
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
