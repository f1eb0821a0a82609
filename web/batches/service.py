"""The use case of making a batch, planned or running; the bulk workers do the rest."""

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
from shared.queue import Hint, Task
from shared.store.batches import Batch, BatchAction, BatchState, NewBatch
from shared.store.batches.lists import ListEntry, WrittenLists
from shared.store.history import HistoryFilter
from web.admin.actions import MAX_REASON_CHARACTERS
from web.auth import Authority
from web.idempotency import check_key
from web.services import WebServices

log = structlog.get_logger()

LEAST_RATE, MAX_RATE = 0.01, 100_000.0
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


def make_batch(services: WebServices, authority: Authority, wanted: BatchRequest) -> Batch:
    """A batch that runs, or one that is only planned; the same again under the same key.

    Raises:
        SelectionError: nobody is selected, or a line is bad; nothing is left behind.
        IdempotencyMismatchError: the key stands for another batch.
        ProviderMissingError: nothing can be sent on this channel.
    """
    check_options(wanted.rate_per_second, wanted.reason)
    if not services.provider_names[wanted.channel]:
        raise ProviderMissingError
    batch_id = _batch_id(services, authority, wanted.idempotency_key)
    if isinstance(wanted.selection, HistoryFilter) and (known := services.batches.find(batch_id)):
        return _same(known, _mark(services, wanted, b""))
    counted = _Counted(_entries(services, authority, wanted.selection))
    written = services.batch_lists.write(counted)
    if not written.total:
        raise SelectionError("the selection is empty: nobody is in it, nothing was started")
    mark = _mark(services, wanted, counted.digest())
    return _begin(services, authority, wanted, (batch_id, mark), written)


def check_options(rate: float, reason: str) -> None:
    """Whether a batch can have this pace and reason.

    Raises:
        InvalidRequestError: it cannot.
    """
    if rate and not LEAST_RATE <= rate <= MAX_RATE:
        raise InvalidRequestError(
            f"ratePerSecond must be from {LEAST_RATE} to {MAX_RATE:g}, or 0 for no pace"
        )
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason has at most {MAX_REASON_CHARACTERS} characters")


def clean(reason: str) -> str:
    """A reason without what could steer a terminal."""
    signs = (sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in reason.strip())
    return "".join(signs)


def _begin(
    services: WebServices,
    authority: Authority,
    wanted: BatchRequest,
    who: tuple[str, str],
    written: WrittenLists,
) -> Batch:
    (batch_id, mark), lists = who, (written.list_id, written.lists)
    lifetime = services.batches.lifetime_seconds(written.total, wanted.rate_per_second)
    new = NewBatch(
        batch_id=batch_id,
        mark=mark,
        state=BatchState.PLANNING if wanted.is_plan else BatchState.RUNNING,
        channel=wanted.channel,
        reason=clean(wanted.reason),
        by=authority.by,
        caller_id=authority.caller_id,
        org_ids=authority.org_ids,
        list_id=written.list_id,
        lists=written.lists,
        total=written.total,
        rate_per_second=wanted.rate_per_second,
        lifetime_seconds=lifetime,
    )
    services.batch_lists.keep(*lists, lifetime)
    told = services.batches.begin(new, action="batch.plan" if wanted.is_plan else "batch.start")
    if told != "begun":
        services.batch_lists.drop(*lists)
    if told == "other":
        raise IdempotencyMismatchError
    if told == "begun":
        facts = {"batch_id": batch_id, "by": authority.by, "total": written.total}
        log.info("batch.planned" if wanted.is_plan else "batch.started", **facts)
    services.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
    batch = services.batches.find(batch_id)
    if batch is None:
        raise StoreUnavailableError
    return batch


def _entries(
    services: WebServices, authority: Authority, selection: Selection
) -> Iterator[ListEntry]:
    if not isinstance(selection, HistoryFilter):
        yield from selection
        return
    for line in services.history.walk(selection):
        if authority.org_ids is None or line.org_id in authority.org_ids:
            yield ListEntry(line.user_id, int(line.created_at.timestamp() * 1000))


def _batch_id(services: WebServices, authority: Authority, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(8)
    check_key(key)
    return services.digests.digest("batch", f"{authority.caller_id}\0{key}")[:16]


def _mark(services: WebServices, wanted: BatchRequest, content: bytes) -> str:
    """Equal for those who ask for the same."""
    chosen = wanted.selection
    facts = [wanted.channel, wanted.rate_per_second, wanted.reason, wanted.is_plan, content.hex()]
    if isinstance(chosen, HistoryFilter):
        facts[-1] = [chosen.org_id, chosen.channel, chosen.provider, sorted(chosen.statuses)]
        facts += [chosen.since, chosen.until]
    return services.digests.digest("batch mark", orjson.dumps(facts).decode())


def _same(known: Batch, mark: str) -> Batch:
    if known.mark != mark:
        raise IdempotencyMismatchError
    return known


class _Counted:
    """Entries, and a digest of those that went by."""

    def __init__(self, entries: Iterable[ListEntry]) -> None:
        self._entries, self._hash = entries, hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[ListEntry]:
        for entry in self._entries:
            self._hash.update(f"{entry.user_id}\n".encode())
            yield entry

    def digest(self) -> bytes:
        return self._hash.digest()


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
NEXT = {
    BatchState.PLANNING: "is still being planned; try again in a moment",
    BatchState.PLANNED: "was planned and not started",
    BatchState.CANCELLED: "was cancelled; make a new one",
    BatchState.FINISHED: "is finished",
    BatchState.PAUSED: "is paused",
    BatchState.RUNNING: "is running",
}


def start_plan(
    services: WebServices, authority: Authority, plan_id: str, *, rate: float | None, reason: str
) -> Batch:
    """The planned batch, running; starting it again changes nothing.

    Raises:
        NotFoundError: no such plan, or not theirs. BatchStateError: it cannot be started.
    """
    check_options(rate or 0, reason)
    return _change(services, authority, plan_id, BatchAction.START, reason=reason, rate=rate)


def change_batch(
    services: WebServices, authority: Authority, batch_id: str, verb: BatchAction, *, reason: str
) -> Batch:
    """The batch after it was paused, resumed or cancelled; doing it again changes nothing.

    Raises:
        NotFoundError: no such batch, or not theirs. BatchStateError: its state does not allow it.
    """
    check_options(0, reason)
    return _change(services, authority, batch_id, verb, reason=reason, rate=None)


def _change(
    services: WebServices,
    authority: Authority,
    batch_id: str,
    verb: BatchAction,
    *,
    reason: str,
    rate: float | None,
) -> Batch:
    batch = authority.authorize(services.batches.find(batch_id))
    if verb in (BatchAction.START, BatchAction.RESUME):
        lifetime = services.batches.lifetime_seconds(batch.total, rate or batch.rate_per_second)
        services.batch_lists.keep(batch.list_id, batch.lists, lifetime)
    why = clean(reason) or (batch.reason if verb is BatchAction.START else "")  # a plan has one
    word, before = services.batches.change(
        batch, verb, by=authority.by, reason=why, rate_per_second=rate
    )
    if word == "absent":
        raise NotFoundError
    if word == "refused":
        state = NEXT[BatchState(before)]
        raise BatchStateError(f"the batch {state}: it cannot be {PAST[verb]}")
    if word == "changed":
        log.info(EVENTS[verb], batch_id=batch_id, by=authority.by)
    services.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
    return authority.authorize(services.batches.find(batch_id))
