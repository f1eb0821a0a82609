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
    IdempotencyMismatchError,
    InvalidRequestError,
    ProviderMissingError,
    SelectionError,
    StoreUnavailableError,
)
from shared.hints import Hint, Task
from shared.models import Channel, Queue
from shared.store.batch_lists import Entry, WrittenLists
from shared.store.batch_records import Batch, BatchState, NewBatch
from shared.store.history import Filter
from web.batch_rights import Authority
from web.house import House
from web.levers import MOST_REASON_CHARACTERS
from web.once import check_key

log = structlog.get_logger()

LEAST_RATE, MOST_RATE = 0.01, 100_000.0
Selection: TypeAlias = Filter | Iterable[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBatch:
    """What is asked for, decoded and judged in itself."""

    selection: Selection = field(repr=False)
    channel: Channel
    rate_per_second: float = 0
    reason: str = ""
    is_plan: bool = False
    idempotency_key: str | None = None


def make_batch(house: House, authority: Authority, wanted: WantedBatch) -> Batch:
    """A batch that runs, or one that is only planned; the same again under the same key.

    Raises:
        SelectionError: nobody is selected, or a line is bad; nothing is left behind.
        IdempotencyMismatchError: the key stands for another batch.
        ProviderMissingError: nothing can be sent on this channel.
    """
    check_options(wanted.rate_per_second, wanted.reason)
    if not house.provider_names[wanted.channel]:
        raise ProviderMissingError
    batch_id = _batch_id(house, authority, wanted.idempotency_key)
    if isinstance(wanted.selection, Filter) and (known := house.batches.find(batch_id)):
        return _same(known, _mark(house, wanted, b""))
    counted = _Counted(_entries(house, authority, wanted.selection))
    written = house.batch_lists.write(counted)
    if not written.total:
        raise SelectionError("the selection is empty: nobody is in it, nothing was started")
    mark = _mark(house, wanted, counted.digest())
    return _begin(house, authority, wanted, (batch_id, mark), written)


def check_options(rate: float, reason: str) -> None:
    """Whether a batch can have this pace and reason.

    Raises:
        InvalidRequestError: it cannot.
    """
    if rate and not LEAST_RATE <= rate <= MOST_RATE:
        raise InvalidRequestError(
            f"ratePerSecond must be from {LEAST_RATE} to {MOST_RATE:g}, or 0 for no pace"
        )
    if len(reason) > MOST_REASON_CHARACTERS:
        raise InvalidRequestError(f"reason has at most {MOST_REASON_CHARACTERS} characters")


def clean(reason: str) -> str:
    """A reason without what could steer a terminal."""
    signs = (sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in reason.strip())
    return "".join(signs)


def _begin(
    house: House,
    authority: Authority,
    wanted: WantedBatch,
    who: tuple[str, str],
    written: WrittenLists,
) -> Batch:
    (batch_id, mark), lists = who, (written.list_id, written.lists)
    lifetime = house.batches.lifetime_seconds(written.total, wanted.rate_per_second)
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
    house.batch_lists.keep(*lists, lifetime)
    told = house.batches.begin(new, action="batch.plan" if wanted.is_plan else "batch.start")
    if told != "begun":
        house.batch_lists.drop(*lists)
    if told == "other":
        raise IdempotencyMismatchError
    if told == "begun":
        facts = {"batch_id": batch_id, "by": authority.by, "total": written.total}
        log.info("batch.planned" if wanted.is_plan else "batch.started", **facts)
    house.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
    batch = house.batches.find(batch_id)
    if batch is None:
        raise StoreUnavailableError
    return batch


def _entries(house: House, authority: Authority, selection: Selection) -> Iterator[Entry]:
    if not isinstance(selection, Filter):
        yield from selection
        return
    for line in house.history.walk(selection):
        if authority.org_ids is None or line.org_id in authority.org_ids:
            yield Entry(line.user_id, int(line.created_at.timestamp() * 1000))


def _batch_id(house: House, authority: Authority, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(8)
    check_key(key)
    return house.digests.digest("batch", f"{authority.caller_id}\0{key}")[:16]


def _mark(house: House, wanted: WantedBatch, content: bytes) -> str:
    """Equal for those who ask for the same."""
    chosen = wanted.selection
    facts = [wanted.channel, wanted.rate_per_second, wanted.reason, wanted.is_plan, content.hex()]
    if isinstance(chosen, Filter):
        facts[-1] = [chosen.org_id, chosen.channel, chosen.provider, sorted(chosen.statuses)]
        facts += [chosen.since, chosen.until]
    return house.digests.digest("batch mark", orjson.dumps(facts).decode())


def _same(known: Batch, mark: str) -> Batch:
    if known.mark != mark:
        raise IdempotencyMismatchError
    return known


class _Counted:
    """Entries, and a digest of those that went by."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries, self._hash = entries, hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self._hash.update(f"{entry.user_id}\n".encode())
            yield entry

    def digest(self) -> bytes:
        return self._hash.digest()
