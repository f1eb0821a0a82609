"""The bodies and answers of the operator's calls as JSON."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, OneOf

from shared.models import DUE_QUEUES
from shared.store.admin.audit import AuditEntry
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.batches import Batch
from shared.validation import format_timestamp
from web.admin.actions import LIMITS, MAX_REASON_CHARACTERS
from web.admin.alerts import find_alerts
from web.admin.providers import ProviderView
from web.admin.status import QueueView, StatusView
from web.schemas import EnumValue, WireSchema

MAX_NAME_CHARACTERS = 200
MAX_PER_SECOND = 1_000_000


class Rate(fields.Field[float]):
    """A rate per second."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= MAX_PER_SECOND:
            raise ValidationError(f"must be a number from 0 to {MAX_PER_SECOND}")
        return float(value)


def a_reason(*, required: bool = True) -> fields.String:
    """Return the field of an action's reason."""
    return fields.String(
        required=required, allow_none=not required, validate=Length(max=MAX_REASON_CHARACTERS)
    )


class ReasonSchema(WireSchema):
    """A reason alone."""

    reason = a_reason()


class PauseSchema(ReasonSchema):
    """What to pause."""

    scope = fields.String(required=True, validate=OneOf([each.value for each in Scope]))
    name = fields.String(required=True, validate=Length(1, MAX_NAME_CHARACTERS))


class ResumeSchema(PauseSchema):
    """What to resume, and at which rate; at once without one or at 0."""

    rate_per_second = Rate(data_key="ratePerSecond", allow_none=True)


class ClearLimitSchema(ReasonSchema):
    """Which limit to clear, and whose."""

    limit = fields.String(required=True, validate=OneOf(LIMITS))
    id = fields.String(allow_none=True, validate=Length(max=MAX_NAME_CHARACTERS))


class ResendSchema(WireSchema):
    """The channel; the same as before without one."""

    type = EnumValue(allow_none=True)
    reason = a_reason(required=False)


REASON = ReasonSchema()
PAUSE = PauseSchema()
RESUME = ResumeSchema()
CLEAR_LIMIT = ClearLimitSchema()
RESEND = ResendSchema()


def serialise_pause(pause: Pause) -> dict[str, Any]:
    """Serialise a pause in force."""
    return {
        "scope": pause.scope.value,
        "name": pause.name,
        "by": pause.by,
        "reason": pause.reason,
        "since": format_timestamp(pause.since),
    }


def serialise_release(release: Release) -> dict[str, Any]:
    """Serialise a release that is under way."""
    return {
        "scope": release.scope.value,
        "name": release.name,
        "by": release.by,
        "reason": release.reason,
        "since": format_timestamp(release.since),
        "ratePerSecond": release.per_second,
        "moved": release.moved,
        "tooLate": release.too_late,
    }


def serialise_audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """Serialise an entry of the audit trail."""
    return {
        "at": format_timestamp(entry.at),
        "by": entry.act.by,
        "action": entry.act.action,
        "target": entry.act.target,
        "reason": entry.act.reason,
    }


def serialise_status(status: StatusView) -> dict[str, Any]:
    """Serialise the status; scripts rely on the names of its fields."""
    due_sets = [each for each in status.queues if each.queue in DUE_QUEUES]
    return {
        "troubles": find_alerts(status),
        "due": {each.queue.value: each.depth for each in due_sets},
        "dueNow": {each.queue.value: each.due for each in due_sets},
        "oldestDueSeconds": round(max(each.oldest_seconds for each in due_sets), 3),
        "queues": [_serialise_queue(each) for each in status.queues],
        "providers": [serialise_provider(each) for each in status.providers],
        "open": dict(status.open),
        "reached": dict(status.reached),
        "completed": status.completed,
        "hints": {e.queue.value: e.hints for e in status.queues} if status.has_broker else {},
        "workers": {each.queue.value: each.workers for each in status.queues},
        "pauses": [serialise_pause(each) for each in status.pauses],
        "releases": [serialise_release(each) for each in status.releases],
        "batches": [_serialise_batch(each) for each in status.batches],
    }


def _serialise_queue(each: QueueView) -> dict[str, Any]:
    return {
        "queue": each.queue.value,
        "depth": each.depth,
        "due": each.due,
        "oldestDueSeconds": round(each.oldest_seconds, 3),
        "inPerMinute": _rounded(each.in_per_minute, 1),
        "outPerMinute": _rounded(each.out_per_minute, 1),
        "workers": each.workers,
        "hints": each.hints,
        "isPaused": each.pause is not None,
    }


def serialise_provider(view: ProviderView) -> dict[str, Any]:
    """A provider, wherever one is told as JSON.

    `calls`, `errorRate` and `p95Ms` are of the last five minutes; the circuit's own window is in
    the names that say so.
    """
    circuit, pause, switch = view.circuit, view.pause, view.circuit.last_switch
    return {
        "provider": view.name,
        "channel": view.channel.value,
        "order": view.place,
        "circuit": circuit.state.value,
        "reason": circuit.reason,
        "openedAt": format_timestamp(circuit.opened_at),
        "waitSeconds": round(circuit.wait_seconds, 1),
        "triesIn30Seconds": circuit.calls,
        "errorRateIn30Seconds": round(circuit.error_rate, 3),
        "calls": view.calls,
        "errorRate": _rounded(view.error_rate, 3),
        "p95Ms": view.p95_ms,
        "callbacks": view.callbacks,
        "refusedCallbacks": view.refused_callbacks,
        "lastCallbackAt": format_timestamp(view.last_callback_at),
        "isPaused": pause is not None,
        "paused": pause
        and {"by": pause.by, "reason": pause.reason, "since": format_timestamp(pause.since)},
        "lastSwitch": switch
        and {"at": format_timestamp(switch.at), "to": switch.to, "reason": switch.reason},
    }


def _serialise_batch(batch: Batch) -> dict[str, Any]:
    return {
        "batchId": batch.batch_id,
        "state": batch.state.value,
        "total": batch.total,
        "recorded": batch.recorded,
        "skipped": sum(batch.skipped.values()),
        "ratePerSecond": batch.rate_per_second,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
