"""Batches in a store, with defaults for the tests that are about them."""

from __future__ import annotations

from shared.models import Channel
from shared.store.batches import BatchState, NewBatch
from shared.store.batches.lists import ListEntry
from shared.wiring import Services


def a_batch(services: Services, *user_ids: str, since_ms: int = 0, **fields):
    """A batch for these users that stands in the store; gives it back."""
    written = services.batch_lists.write(ListEntry(user_id, since_ms) for user_id in user_ids)
    values = {
        "batch_id": "b1",
        "mark": "m",
        "state": BatchState.RUNNING,
        "channel": Channel.EMAIL,
        "reason": "the outage",
        "by": "eve",
        "caller_id": "",
        "org_ids": None,
        "list_id": written.list_id,
        "lists": written.lists,
        "total": written.total,
        "rate_per_second": 0.0,
        "lifetime_seconds": 1000.0,
    } | fields
    new = NewBatch(**values)
    assert services.batches.begin(new) in ("begun", "known", "other")
    return services.batches.find(new.batch_id)
