"""Make, start, pause, resume and cancel batches; the bulk workers feed and send them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
import structlog

from shared.errors import (
    BatchStateError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    ProviderMissingError,
    SelectionError,
    StoreUnavailableError,
)
from shared.models import Channel, Queue
from shared.policies import route_of
from shared.queue import Hint, Task
from shared.store.admin.audit import Act
from shared.store.batches import Batch, BatchAction, BatchState, NewBatch
from shared.store.batches.lists import ListEntry
from shared.store.history import HistoryFilter
from web.admin.actions import MAX_REASON_CHARACTERS
from web.auth import Authority
from web.idempotency import check_key
from web.services import WebServices

log = structlog.get_logger()

LEAST_RATE, MAX_RATE = 0.01, 100_000.0
PAST = {
    BatchAction.START: "started",
    BatchAction.PAUSE: "paused",
    BatchAction.RESUME: "resumed",
    BatchAction.CANCEL: "cancelled",
}
EVENTS = {
    BatchAction.START: "batch.started",
    BatchAction.PAUSE: "batch.paused",
    BatchAction.RESUME: "batch.resumed",
    BatchAction.CANCEL: "batch.cancelled",
}
STATES = {
    BatchState.PLANNING: "is still being planned; try again in a moment",
    BatchState.PLANNED: "was planned and not started",
    BatchState.CANCELLED: "was cancelled; make a new one",
    BatchState.FINISHED: "is finished",
    BatchState.PAUSED: "is paused",
    BatchState.RUNNING: "is running",
}
Selection: TypeAlias = HistoryFilter | Iterable[ListEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What is asked for, decoded and judged in itself."""

    selection: Selection = field(repr=False)
    channel: Channel
    rate_per_second: float = 0
    reason: str = ""
    is_plan: bool = False
    idempotency_key: str | None = None


def make_batch(services: WebServices, authority: Authority, request: BatchRequest) -> Batch:
    """Return a batch that runs, or is only planned; the same one again under the same key.

    Raises:
        SelectionError: no user is selected, or a line is bad; nothing is left behind.
        IdempotencyMismatchError: the key stands for another batch.
        ProviderMissingError: nothing can be sent on this channel.
    """
    _check_options(request.rate_per_second, request.reason)
    if not _has_provider(services, authority, request.channel):
        raise ProviderMissingError
    batch_id = _batch_id(services, authority, request.idempotency_key)
    if isinstance(request.selection, HistoryFilter) and (known := services.batches.find(batch_id)):
        if known.mark != _mark(services, request, b""):
            raise IdempotencyMismatchError
        return known
    content = hashlib.blake2b(digest_size=16)
    written = services.batch_lists.write(
        _hashed(_entries(services, authority, request.selection), content)
    )
    if not written.total:
        raise SelectionError("the selection is empty: nobody is in it, nothing was started")
    new = NewBatch(
        batch_id=batch_id,
        mark=_mark(services, request, content.digest()),
        state=BatchState.PLANNING if request.is_plan else BatchState.RUNNING,
        channel=request.channel,
        reason=_clean(request.reason),
        by=authority.by,
        caller_id=authority.caller_id,
        org_ids=authority.org_ids,
        list_id=written.list_id,
        lists=written.lists,
        total=written.total,
        rate_per_second=request.rate_per_second,
        lifetime_seconds=services.batches.lifetime_seconds(written.total, request.rate_per_second),
    )
    return _begin(services, new)


def _begin(services: WebServices, new: NewBatch) -> Batch:
    is_plan = new.state is BatchState.PLANNING
    services.batch_lists.keep(new.list_id, new.lists, new.lifetime_seconds)
    action = "batch.plan" if is_plan else "batch.start"
    act = Act(by=new.by, action=action, target=new.batch_id, reason=new.reason)
    with services.audit.acting(act) as ending:
        answer = services.batches.begin(new)
        if answer != "begun":
            services.batch_lists.drop(new.list_id, new.lists)
            ending["outcome"] = "refused: it was made before"
        if answer == "other":
            raise IdempotencyMismatchError
    if answer == "begun":
        event = "batch.planned" if is_plan else "batch.started"
        log.info(event, batch_id=new.batch_id, by=new.by, total=new.total)
    services.hints.publish(Hint(new.batch_id, Task.FEED_BATCH, Queue.BULK))
    batch = services.batches.find(new.batch_id)
    if batch is None:
        raise StoreUnavailableError
    return batch


def _has_provider(services: WebServices, authority: Authority, channel: Channel) -> bool:
    """Return True if the installation sends on a channel, or one of the organisations itself."""
    return bool(services.provider_names[channel]) or any(
        route_of(each, channel)
        for each in services.callers.list_organisations()
        if authority.org_ids is None or each.org_id in authority.org_ids
    )


def _check_options(rate: float, reason: str) -> None:
    """Raise InvalidRequestError unless a batch can have this rate and reason."""
    if rate and not LEAST_RATE <= rate <= MAX_RATE:
        raise InvalidRequestError(
            f"ratePerSecond must be from {LEAST_RATE} to {MAX_RATE:g}, or 0 for no pace"
        )
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason has at most {MAX_REASON_CHARACTERS} characters")


def _clean(reason: str) -> str:
    """Return a reason without what could steer a terminal."""
    signs = (sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in reason.strip())
    return "".join(signs)


def _batch_id(services: WebServices, authority: Authority, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(8)
    check_key(key)
    return services.digests.digest("batch", f"{authority.caller_id}\0{key}")[:16]


def _entries(
    services: WebServices, authority: Authority, selection: Selection
) -> Iterator[ListEntry]:
    if not isinstance(selection, HistoryFilter):
        yield from selection
        return
    for line in services.history.walk(selection):
        if authority.org_ids is None or line.org_id in authority.org_ids:
            yield ListEntry(line.user_id, int(line.created_at.timestamp() * 1000))


def _hashed(entries: Iterable[ListEntry], content: hashlib.blake2b) -> Iterator[ListEntry]:
    """Yield entries, and add each to a hash of all."""
    for entry in entries:
        content.update(f"{entry.user_id}\n".encode())
        yield entry


def _mark(services: WebServices, request: BatchRequest, content: bytes) -> str:
    """Return a text that is equal for equal requests."""
    chosen = request.selection
    values = [request.channel, request.rate_per_second, request.reason, request.is_plan]
    if isinstance(chosen, HistoryFilter):
        values += [[chosen.org_id, chosen.channel, chosen.provider, sorted(chosen.statuses)]]
        values += [chosen.since, chosen.until]
    else:
        values += [content.hex()]
    return services.digests.digest("batch mark", orjson.dumps(values).decode())


def start_plan(
    services: WebServices, authority: Authority, plan_id: str, *, rate: float | None, reason: str
) -> Batch:
    """Return the planned batch, running; starting it again changes nothing.

    Raises:
        NotFoundError: no such plan, or not theirs. BatchStateError: it cannot be started.
    """
    _check_options(rate or 0, reason)
    return _change(services, authority, plan_id, BatchAction.START, reason=reason, rate=rate)


def change_batch(
    services: WebServices, authority: Authority, batch_id: str, action: BatchAction, *, reason: str
) -> Batch:
    """Return the batch, paused, resumed or cancelled; doing it again changes nothing.

    Raises:
        NotFoundError: no such batch, or not theirs. BatchStateError: its state does not allow it.
    """
    _check_options(0, reason)
    return _change(services, authority, batch_id, action, reason=reason, rate=None)


def _change(
    services: WebServices,
    authority: Authority,
    batch_id: str,
    action: BatchAction,
    *,
    reason: str,
    rate: float | None,
) -> Batch:
    batch = authority.authorize(services.batches.find(batch_id))
    if action in (BatchAction.START, BatchAction.RESUME):
        lifetime = services.batches.lifetime_seconds(batch.total, rate or batch.rate_per_second)
        services.batch_lists.keep(batch.list_id, batch.lists, lifetime)
    why = _clean(reason) or (batch.reason if action is BatchAction.START else "")  # the plan's
    act = Act(by=authority.by, action=f"batch.{action}", target=batch_id, reason=why)
    with services.audit.acting(act) as ending:
        answer, before = services.batches.change(batch, action, rate_per_second=rate)
        if answer == "absent":
            raise NotFoundError
        if answer == "refused":
            state = STATES[BatchState(before)]
            raise BatchStateError(f"the batch {state}: it cannot be {PAST[action]}")
        if answer == "same":
            ending["outcome"] = f"refused: the batch is {before} already"
    if answer == "changed":
        log.info(EVENTS[action], batch_id=batch_id, by=authority.by)
    services.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
    return authority.authorize(services.batches.find(batch_id))
