"""Verdicts on a reset that has not gone out yet: waiting, paused, held, tried again."""

from __future__ import annotations

from datetime import timedelta

from shared.models import Queue, Reset, Status
from shared.store.pauses import Pause, Scope
from shared.store.waiting import NO_PROVIDER
from web.facts import Facts, Verdict, VerdictKind
from web.verdict_words import REASONS, at, last_attempt, last_start, length

LEFT_ALONE = "circuit_open"
OVERDUE = timedelta(seconds=2)


def judge_waiting(facts: Facts, reset: Reset) -> Verdict:
    """Where it waits, how long, for what, and what ends the waiting."""
    if reset.status is Status.SENDING:
        words = "A worker is handing it to a provider right now."
        return Verdict(VerdictKind.WAITING, words, "Look again in a moment.")
    if reset.is_held:
        return _held(facts, reset)
    pause = next((each for each in facts.pauses if _covers(each, facts, reset)), None)
    if pause:
        return _paused(facts, reset, pause)
    if reset.reason == "paced":
        return _paced(facts, reset)
    if reset.reason == "batch_paused":
        return _batch_paused(facts, reset)
    return _retrying(reset) if reset.status is Status.RETRYING else _queued(facts, reset)


def _covers(pause: Pause, facts: Facts, reset: Reset) -> bool:
    match pause.scope:
        case Scope.QUEUE:
            return pause.name == reset.queue
        case Scope.CHANNEL:
            return pause.name == reset.channel
        case Scope.ORGANISATION:
            return pause.name == reset.org_id
        case Scope.PROVIDER:
            return reset.reason == NO_PROVIDER and pause.name in facts.providers


def _where(facts: Facts, reset: Reset) -> str:
    age = length(facts.now - reset.created_at)
    return f"It has been waiting in the {reset.queue.value} queue for {age}"


def _held(facts: Facts, reset: Reset) -> Verdict:
    told = next((e for e in reversed(reset.events) if e.type == "held"), None)
    by = f" at {at(told.at)}, {told.detail}" if told else ""
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: it is held{by}.",
        f"`keyturn reset release {reset.reset_id} --reason …`, before {at(reset.deadline_at)}.",
    )


def _paused(facts: Facts, reset: Reset, pause: Pause) -> Verdict:
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: the {pause.scope} {pause.name} has been paused by {pause.by} "
        f"since {at(pause.since)} ({pause.reason}).",
        f"`keyturn resume {pause.scope} {pause.name} --reason …`; its code ends at "
        f"{at(reset.deadline_at)} all the same.",
    )


def _paced(facts: Facts, reset: Reset) -> Verdict:
    return Verdict(
        VerdictKind.WAITING,
        f"{_where(facts, reset)}: what was paused is let go at a pace.",
        f"Wait: its turn is at {at(reset.next_look_at)}; another `keyturn resume … --rate N` "
        "changes the pace.",
    )


def _batch_paused(facts: Facts, reset: Reset) -> Verdict:
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


def _queued(facts: Facts, reset: Reset) -> Verdict:
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
