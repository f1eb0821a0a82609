"""Build the timeline of a reset: call, limits, queue, attempts, receipts, opened, completed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from shared.models import DeliveryEvent, Kind, Reset
from shared.store.admin.refusals import Refusal
from web.explain.diagnosis import REFUSALS
from web.explain.model import Evidence, TimelineStep
from web.explain.wording import LIMITS, SWITCH_REASONS, describe_outcome, describe_reason

CALLERS = {
    "page": "the page",
    "forgot": "the page for forgotten passwords",
    "shell": "a command",
}


def build_timeline(evidence: Evidence) -> tuple[TimelineStep, ...]:
    """Return what happened to the reset, and the user's refusals, in order."""
    steps = [_refused(refusal) for refusal in evidence.refusals]
    if evidence.reset:
        steps += [*_past(evidence.reset), *_outlook(evidence, evidence.reset)]
    return tuple(sorted(steps, key=lambda step: step.at))


def _refused(refusal: Refusal) -> TimelineStep:
    limit = f", {LIMITS.get(refusal.limit, refusal.limit)}" if refusal.limit else ""
    times = f", {refusal.times} times" if refusal.times > 1 else ""
    request = f", request {refusal.request_id}" if refusal.request_id else ""
    channel = f" by {refusal.channel}" if refusal.channel else ""
    reason = REFUSALS[refusal.error][1] if refusal.error in REFUSALS else f"a limit{limit}"
    return TimelineStep(refusal.at, "refused", f"a call{channel}{request}{times}: {reason}")


def _past(reset: Reset) -> Iterator[TimelineStep]:
    ids = {
        "caller": name_caller(reset),
        "request": reset.request_id,
        "organisation": reset.org_id,
        "reset": reset.reset_id,
    }
    named = ", ".join(f"{name} {value}" for name, value in ids.items() if value)
    yield TimelineStep(reset.created_at, "call", f"asked for by {reset.channel}; {named}")
    if reset.kind is not Kind.NOTICE:
        yield TimelineStep(reset.created_at, "limits", "passed")
    if reset.kind is Kind.RETURNED:
        who = "the mail to several users has" if reset.recipient_digest else "the caller got"
        yield TimelineStep(reset.created_at, "returned", f"{who} the code; nothing is sent")
    else:
        yield TimelineStep(reset.created_at, "queue", f"recorded in {reset.queue.value}")
    events = [_event(reset, event) for event in reset.events]
    # At the same moment, a switch stands before the attempt it led to, and a receipt behind it.
    yield from (step for step in events if step.step == "provider")
    for attempt in reset.attempts:
        detail = f" ({attempt.detail})" if attempt.detail else ""
        number = attempt.provider_message_id
        message = f", message id {number}" if number else ""
        is_last = attempt is reset.attempts[-1]
        own = f", own texts {reset.text_version}" if is_last and reset.text_version else ""
        what = f"{describe_outcome(attempt)}{detail}{message}{own}"
        text = f"{attempt.number}. {attempt.provider}: {what}"
        yield TimelineStep(attempt.started_at, "attempt", text)
    yield from (step for step in events if step.step != "provider")
    if reset.opened_at:
        yield TimelineStep(reset.opened_at, "opened", "the right code was entered")
    if reset.completed_at:
        yield TimelineStep(reset.completed_at, "completed", "the password was changed")


def name_caller(reset: Reset) -> str | None:
    """Return who asked for a reset, as the audit trail names callers; None if it is not known."""
    if reset.batch_id:
        return f"batch {reset.batch_id}"
    if reset.caller_id is None:
        return None
    return CALLERS.get(reset.caller_id, f"token {reset.caller_id}")


def _event(reset: Reset, event: DeliveryEvent) -> TimelineStep:
    if event.provider is None:
        return TimelineStep(event.at, "operator", f"{event.type} {event.detail or ''}".strip())
    started: list[datetime] = [
        each.started_at for each in reset.attempts if each.provider == event.provider
    ]
    if event.type == "failed_over":
        at = max((each for each in started if each <= event.at), default=event.at)
        # The detail is `instead of sendgrid: circuit_open`.
        instead, _, reason = (event.detail or "").partition(": ")
        text = f"{event.provider} {instead} ({SWITCH_REASONS.get(reason, reason)})"
        return TimelineStep(at, "provider", text)
    detail = f": {event.detail}" if event.detail else ""
    # Providers report whole seconds: a receipt came after the attempt all the same.
    at = max([event.at, *started[:1]])
    return TimelineStep(at, "receipt", f"{event.provider} {event.type}{detail}")


def _outlook(evidence: Evidence, reset: Reset) -> Iterator[TimelineStep]:
    if reset.next_look_at and not reset.status.is_final:
        when = "due since then" if reset.next_look_at < evidence.now else "retry at this time"
        at = max(reset.next_look_at, reset.created_at)
        yield TimelineStep(at, "due", f"{when}, now {reset.status}")
    text = "the code expires" if evidence.now < reset.deadline_at else "the code expired"
    reason = f": {describe_reason(reset)}" if reset.reason else ""
    yield TimelineStep(
        reset.deadline_at, "deadline", f"{text}; the reset is {reset.status}{reason}"
    )
