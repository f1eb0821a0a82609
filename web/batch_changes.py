"""The use cases of a batch that stands: start its plan, pause, resume, cancel."""

from __future__ import annotations

import structlog

from shared.errors import BatchStateError, NotFoundError
from shared.hints import Hint, Task
from shared.models import Queue
from shared.store.batch_records import Batch, BatchState, Verb
from web.batch_rights import Authority, find_theirs
from web.batches import check_options, clean
from web.house import House

log = structlog.get_logger()

PAST = {
    Verb.START: "started",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.CANCEL: "cancelled",
}
EVENTS = {
    Verb.START: "batch.started",
    Verb.PAUSE: "batch.paused",
    Verb.RESUME: "batch.resumed",
    Verb.CANCEL: "batch.cancelled",
}
NEXT = {
    BatchState.PLANNING: "is still being planned; try again in a moment",
    BatchState.PLANNED: "was planned and not started",
    BatchState.CANCELLED: "was cancelled; make a new one",
    BatchState.FINISHED: "is finished",
    BatchState.PAUSED: "is paused",
    BatchState.RUNNING: "is running",
}


def start_plan(
    house: House, authority: Authority, plan_id: str, *, rate: float | None, reason: str
) -> Batch:
    """The planned batch, running; starting it again changes nothing.

    Raises:
        NotFoundError: no such plan, or not theirs. BatchStateError: it cannot be started.
    """
    check_options(rate or 0, reason)
    return _change(house, authority, plan_id, Verb.START, reason=reason, rate=rate)


def change_batch(
    house: House, authority: Authority, batch_id: str, verb: Verb, *, reason: str
) -> Batch:
    """The batch after it was paused, resumed or cancelled; doing it again changes nothing.

    Raises:
        NotFoundError: no such batch, or not theirs. BatchStateError: its state does not allow it.
    """
    check_options(0, reason)
    return _change(house, authority, batch_id, verb, reason=reason, rate=None)


def _change(
    house: House,
    authority: Authority,
    batch_id: str,
    verb: Verb,
    *,
    reason: str,
    rate: float | None,
) -> Batch:
    batch = find_theirs(house, authority, batch_id)
    if verb in (Verb.START, Verb.RESUME):
        lifetime = house.batches.lifetime_seconds(batch.total, rate or batch.rate_per_second)
        house.batch_lists.keep(batch.list_id, batch.lists, lifetime)
    why = clean(reason) or (batch.reason if verb is Verb.START else "")  # a plan has one
    word, before = house.batches.change(
        batch, verb, by=authority.by, reason=why, rate_per_second=rate
    )
    if word == "absent":
        raise NotFoundError
    if word == "refused":
        state = NEXT[BatchState(before)]
        raise BatchStateError(f"the batch {state}: it cannot be {PAST[verb]}")
    if word == "changed":
        log.info(EVENTS[verb], batch_id=batch_id, by=authority.by)
    house.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
    return find_theirs(house, authority, batch_id)
