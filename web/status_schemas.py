"""The status as programs read it."""

from __future__ import annotations

from typing import Any

from shared.models import DUE_QUEUES
from shared.store.batch_records import Batch
from web.lever_schemas import write_pause, write_release
from web.schemas import spell
from web.status import ProviderFigures, QueueView, StatusView
from web.status_checks import find_troubles


def write_status(status: StatusView) -> dict[str, Any]:
    """`due` and `oldestDueSeconds` are names that scripts rely on."""
    sets = [each for each in status.queues if each.queue in DUE_QUEUES]
    return {
        "troubles": find_troubles(status),
        "due": {each.queue.value: each.depth for each in sets},
        "dueNow": {each.queue.value: each.due for each in sets},
        "oldestDueSeconds": round(max(each.oldest_seconds for each in sets), 3),
        "queues": [_write_queue(each) for each in status.queues],
        "providers": [_write_provider(each) for each in status.providers],
        "open": dict(status.open),
        "reached": dict(status.reached),
        "completed": status.completed,
        "hints": {e.queue.value: e.hints for e in status.queues} if status.has_broker else {},
        "workers": {each.queue.value: each.workers for each in status.queues},
        "pauses": [write_pause(each) for each in status.pauses],
        "releases": [write_release(each) for each in status.releases],
        "batches": [_write_batch(each) for each in status.batches],
    }


def _write_queue(each: QueueView) -> dict[str, Any]:
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


def _write_provider(each: ProviderFigures) -> dict[str, Any]:
    view, circuit = each.view, each.view.circuit
    switch = circuit.last_switch
    return {
        "provider": view.name,
        "channel": view.channel.value,
        "circuit": circuit.state.value,
        "reason": circuit.reason,
        "calls": each.calls,
        "errorRate": _rounded(each.error_rate, 3),
        "p95Ms": each.p95_ms,
        "callbacks": each.callbacks,
        "refusedCallbacks": each.refused_callbacks,
        "lastCallbackAt": spell(each.last_callback_at),
        "weight": view.weight,
        "isPaused": view.pause is not None,
        "lastSwitch": {"at": spell(switch.at), "to": switch.to, "reason": switch.reason}
        if switch
        else None,
    }


def _write_batch(batch: Batch) -> dict[str, Any]:
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
