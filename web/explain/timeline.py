"""The chain of what happened: call, limits, queue, attempts, receipts, opened, completed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from shared.models import Attempt, DeliveryEvent, Kind, Reset
from shared.store.admin.refusals import Refusal
from web.explain.diagnosis import WORDS
from web.explain.model import Evidence, TimelineStep
from web.explain.wording import LIMITS, SWITCHES, ending, why


def build_timeline(facts: Evidence) -> tuple[TimelineStep, ...]:
    """What happened, in order; the refusals of the user among it."""
    steps = [_refused(refusal) for refusal in facts.refusals]
    if facts.reset:
        steps += _steps(facts, facts.reset)
    return tuple(sorted(steps, key=lambda step: step.at))


def _refused(refusal: Refusal) -> TimelineStep:
    limit = f", {LIMITS.get(refusal.limit, refusal.limit)}" if refusal.limit else ""
    often = f", {refusal.times} times" if refusal.times > 1 else ""
    request = f", request {refusal.request_id}" if refusal.request_id else ""
    channel = f" by {refusal.channel}" if refusal.channel else ""
    words = WORDS[refusal.word][1] if refusal.word in WORDS else f"a limit{limit}"
    return TimelineStep(refusal.at, "refused", f"a call{channel}{request}{often}: {words}")


def _steps(facts: Evidence, reset: Reset) -> Iterator[TimelineStep]:
    yield TimelineStep(reset.created_at, "call", _call(reset))
    if reset.kind is not Kind.NOTICE:
        yield TimelineStep(reset.created_at, "limits", "passed")
    if reset.kind is Kind.RETURNED:
        yield TimelineStep(reset.created_at, "returned", "the caller got the code; nothing is sent")
    else:
        yield TimelineStep(reset.created_at, "queue", f"recorded in {reset.queue.value}")
    told = [_event(reset, event) for event in reset.events]
    yield from (step for step in told if step.step == "provider")  # before the attempt it led to
    yield from map(_attempt, reset.attempts)
    yield from (step for step in told if step.step != "provider")
    if reset.opened_at:
        yield TimelineStep(reset.opened_at, "opened", "the right code was entered")
    if reset.completed_at:
        yield TimelineStep(reset.completed_at, "completed", "the password was changed")
    yield from _outlook(facts, reset)


def _event(reset: Reset, event: DeliveryEvent) -> TimelineStep:
    """Providers tell whole seconds: what they report came after the attempt all the same."""
    detail = f": {event.detail}" if event.detail else ""
    if event.type == "failed_over":
        return TimelineStep(_begun(reset, event), "provider", _switched(event))
    if event.provider is None:
        return TimelineStep(event.at, "operator", f"{event.type} {event.detail or ''}".strip())
    begun = [each.started_at for each in reset.attempts if each.provider == event.provider]
    return TimelineStep(
        max([event.at, *begun[:1]]), "receipt", f"{event.provider} {event.type}{detail}"
    )


def _begun(reset: Reset, event: DeliveryEvent) -> datetime:
    begun = [each.started_at for each in reset.attempts if each.provider == event.provider]
    return max((each for each in begun if each <= event.at), default=event.at)


def _switched(event: DeliveryEvent) -> str:
    """`instead of sendgrid: circuit_open`, in words."""
    place, _, reason = (event.detail or "").partition(": ")
    return f"{event.provider} {place} ({SWITCHES.get(reason, reason)})"


def _outlook(facts: Evidence, reset: Reset) -> Iterator[TimelineStep]:
    if reset.next_look_at and not reset.status.is_final:
        when = "due since then" if reset.next_look_at < facts.now else "the next look"
        yield TimelineStep(
            max(reset.next_look_at, reset.created_at), "due", f"{when}, now {reset.status}"
        )
    words = "the code ends" if facts.now < reset.deadline_at else "the code ended"
    told = f"{words}; the reset is {reset.status}"
    yield TimelineStep(
        reset.deadline_at, "deadline", told + (f": {why(reset)}" if reset.reason else "")
    )


def _call(reset: Reset) -> str:
    facts = {
        "request": reset.request_id,
        "organisation": reset.org_id,
        "batch": reset.batch_id,
        "reset": reset.reset_id,
    }
    named = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"asked for by {reset.channel}; {named}"


def _attempt(attempt: Attempt) -> TimelineStep:
    detail = f" ({attempt.detail})" if attempt.detail else ""
    number = attempt.provider_message_id
    message = f", message id {number}" if number else ""
    words = f"{attempt.number}. {attempt.provider}: {ending(attempt)}{detail}{message}"
    return TimelineStep(attempt.started_at, "attempt", words)
