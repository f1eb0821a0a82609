"""Store batches: what was asked for, progress, and the lease of the worker that feeds one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

import orjson

from shared.models import Channel, Status
from shared.settings import Settings
from shared.store import keys
from shared.store.batches.lists import FORMER_UNKNOWN, UNKNOWN_USER, USERS_PER_LIST
from shared.store.connection import Client, store_errors
from shared.store.scripts import Argument, Scripts
from shared.validation import moment

LEASE_SECONDS = 15.0


class BatchState(StrEnum):
    """Where a batch stands."""

    PLANNING = "planning"  # its users are looked up; nothing is sent
    PLANNED = "planned"  # counted, waiting for its start
    RUNNING = "running"
    PAUSED = "paused"  # nothing of it is sent; may be resumed
    CANCELLED = "cancelled"  # what was not handed over never will be
    FINISHED = "finished"  # every reset of it has ended


class BatchAction(StrEnum):
    """What an operator does to a batch."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to be begun."""

    batch_id: str
    mark: str  # equal for equal requests
    state: BatchState  # PLANNING or RUNNING
    channel: Channel
    reason: str
    by: str
    caller_id: str
    org_ids: frozenset[str] | None  # whose users may be written to; None: of all organisations
    list_id: str
    lists: int
    total: int
    rate_per_second: float
    lifetime_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it stands; counts of resets that ended stand apart."""

    batch_id: str
    state: BatchState
    channel: Channel
    reason: str
    by: str
    caller_id: str
    org_ids: frozenset[str] | None
    list_id: str
    lists: int
    total: int
    rate_per_second: float
    lifetime_seconds: float
    mark: str
    created_at: datetime
    started_at: datetime | None
    changed_at: datetime | None  # started, paused, resumed or cancelled last
    finished_at: datetime | None
    next_list: int  # of the next user
    next_index: int  # in that list
    recorded: int  # resets that stand in Redis
    skipped: Mapping[str, int]  # by reason
    plan: Mapping[str, int]  # what planning counted, by name; empty when it was not planned

    @property
    def is_fed(self) -> bool:
        """True if every user of it was looked up."""
        return self.next_list >= self.lists

    @property
    def next_user(self) -> tuple[int, int]:
        """Return list and index of the next user who gets a reset; a plan begins none."""
        return (self.next_list, self.next_index) if self.started_at else (0, 0)

    @property
    def looked_up(self) -> int:
        """Return how many of its users were looked up."""
        return min(self.total, self.next_list * USERS_PER_LIST + self.next_index)


@dataclass(frozen=True, slots=True)
class BatchCursor:
    """Where a user stands in the lists of a batch."""

    list_number: int
    index: int


class BatchStore:
    """The records of batches."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client, settings.durability)
        self._keep_seconds = settings.record_lifetime_seconds

    def lifetime_seconds(self, total: int, rate_per_second: float) -> float:
        """Return how long a batch is kept: its own length, a week of pauses and a record's time."""
        own = total / rate_per_second if rate_per_second else 0
        return own + self._keep_seconds + 7 * 86_400

    def begin(self, new: NewBatch) -> str:
        """Return `begun`, `known` (the same stands there), or `other` (the id is another's)."""
        arguments: list[Argument] = [new.batch_id, new.mark, new.by, new.reason]
        arguments += [int(new.lifetime_seconds * 1000)]
        org_ids = "*" if new.org_ids is None else orjson.dumps(sorted(new.org_ids)).decode()
        arguments += ["st", new.state.value, "ch", new.channel.value, "cid", new.caller_id]
        arguments += ["sc", org_ids, "li", new.list_id, "nl", new.lists, "nt", new.total]
        arguments += ["rt", new.rate_per_second]
        names = (*_gate_keys(new.batch_id), keys.BATCHES)
        answer: str = self._scripts.run_durably("batch/begin", names, arguments)
        if answer == "known":
            self._scripts.confirm(keys.GATE)
        return answer

    def find(self, batch_id: str) -> Batch | None:
        """Return the batch; None if there is none by that id."""
        with store_errors():
            h = self._client.hgetall(keys.batch(batch_id))
        return _batch_from_hash(batch_id, h) if h else None

    def state(self, batch_id: str) -> tuple[BatchState, datetime | None] | None:
        """Return the state and its last change; None if the batch is no longer kept."""
        with store_errors():
            state, changed = self._client.hmget(keys.batch(batch_id), "st", "ca")
        return (BatchState(state), moment(changed) if changed else None) if state else None

    def change(
        self,
        batch: Batch,
        action: BatchAction,
        *,
        rate_per_second: float | None = None,
    ) -> tuple[str, str]:
        """Return `changed`, `same`, `refused` or `absent`, and the state before.

        `rate_per_second` is taken at the start alone; None leaves the plan's.
        """
        rate = batch.rate_per_second if rate_per_second is None else rate_per_second
        lifetime_ms = int(self.lifetime_seconds(batch.total, rate) * 1000)
        arguments = (batch.batch_id, action.value, lifetime_ms, "rt", rate)
        answer: Sequence[str] = self._scripts.run_durably(
            "batch/change", _gate_keys(batch.batch_id), arguments
        )
        return answer[0], answer[1]

    def to_feed(self) -> list[str]:
        """Return the batches that have work and no lease; forget those that ended."""
        with store_errors():
            batch_ids = sorted(self._client.smembers(keys.ACTIVE_BATCHES))
            pipeline = self._client.pipeline(transaction=False)
            for batch_id in batch_ids:
                pipeline.hmget(keys.batch(batch_id), "st", "lu")
            pipeline.time()
            *rows, (seconds, microseconds) = pipeline.execute()
            now_ms = seconds * 1000 + microseconds // 1000
            found = dict(zip(batch_ids, rows, strict=True))
            ended = [b for b, (state, _) in found.items() if state in (None, BatchState.CANCELLED)]
            if ended:
                self._client.srem(keys.ACTIVE_BATCHES, *ended)
        works = (BatchState.PLANNING, BatchState.RUNNING)
        return [b for b, (st, lease) in found.items() if st in works and int(lease) <= now_ms]

    def active(self) -> list[Batch]:
        """Return the batches that have not ended, paused ones too."""
        with store_errors():
            batch_ids = sorted(self._client.smembers(keys.ACTIVE_BATCHES))
        return self.find_many(batch_ids)

    def older_than(self, batch_id: str | None, most: int) -> list[str]:
        """Return ids of batches behind this one, or all, newest first; some are no longer kept."""
        with store_errors():
            rank = -1 if batch_id is None else self._client.zrevrank(keys.BATCHES, batch_id)
            if rank is None:  # it is no longer kept, nor is what was older
                return []
            found: list[str] = self._client.zrevrange(keys.BATCHES, rank + 1, rank + most)
        return found

    def find_many(self, batch_ids: Sequence[str]) -> list[Batch]:
        """Return the batches of these that are kept; one round trip."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for batch_id in batch_ids:
                pipeline.hgetall(keys.batch(batch_id))
            found = zip(batch_ids, pipeline.execute(), strict=True)
        return [_batch_from_hash(batch_id, h) for batch_id, h in found if h]

    def every_id(self) -> list[str]:
        """Return the batches that are kept, and some that no longer are, the oldest first."""
        with store_errors():
            found: list[str] = self._client.zrange(keys.BATCHES, 0, -1)
        return found

    def take_lease(self, batch_id: str) -> int:
        """Return the fence of a new lease; 0: another worker has it, or there is nothing to do."""
        lease_ms = int(LEASE_SECONDS * 1000)
        return int(self._scripts.run("batch/lease", (keys.batch(batch_id),), (lease_ms,)))

    def grant(self, batch_id: str, fence: int, wanted: int) -> int:
        """Return how many users its rate allows now; -1: the lease or the batch is over."""
        arguments = (fence, wanted, int(LEASE_SECONDS * 1000))
        return int(self._scripts.run("batch/take_tokens", (keys.batch(batch_id),), arguments))

    def advance(
        self,
        batch_id: str,
        fence: int,
        cursor: BatchCursor,
        counts: Mapping[str, int],
        *,
        refund: int = 0,
        is_end: bool = False,
    ) -> bool:
        """Move on to the next user and count, in one step; return False if the lease was lost.

        `refund`: users that were granted and to whom nothing is sent.
        """
        arguments: list[Argument] = [batch_id, fence, cursor.list_number, cursor.index]
        arguments += [refund, int(is_end)]
        arguments += [part for pair in counts.items() for part in pair]
        names = (keys.batch(batch_id), keys.ACTIVE_BATCHES)
        return bool(self._scripts.run("batch/advance", names, arguments))

    def release_lease(self, batch_id: str, fence: int, *, is_finished: bool = False) -> bool:
        """End a lease; return True if this made the batch finished."""
        names = (keys.batch(batch_id), keys.ACTIVE_BATCHES)
        answer = self._scripts.run("batch/end_lease", names, (batch_id, fence, int(is_finished)))
        return bool(answer)

    def ends(self, batch_id: str) -> Counter[tuple[Status, str]]:
        """Count the resets of a batch that ended, by status and reason, over all shards."""
        return self.ends_of_each([batch_id])[0]

    def ends_of_each(self, batch_ids: Sequence[str]) -> list[Counter[tuple[Status, str]]]:
        """Return what `ends` returns for each; one round trip."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for batch_id in batch_ids:
                for tag in keys.TAGS:
                    pipeline.hgetall(keys.batch_ends(tag, batch_id))
            shards = iter(pipeline.execute())
        return [_add_up(islice(shards, keys.SHARDS)) for _ in batch_ids]


def _add_up(shards: Iterable[Mapping[str, str]]) -> Counter[tuple[Status, str]]:
    total: Counter[tuple[Status, str]] = Counter()
    for shard in shards:
        for name, number in shard.items():
            status, _, reason = name.partition(":")
            total[Status(status), reason] += int(number)
    return +total


def _gate_keys(batch_id: str) -> tuple[str, ...]:
    return keys.batch(batch_id), keys.ACTIVE_BATCHES


def _batch_from_hash(batch_id: str, h: Mapping[str, str]) -> Batch:
    return Batch(
        batch_id=batch_id,
        state=BatchState(h["st"]),
        channel=Channel(h["ch"]),
        reason=h["rs"],
        by=h["by"],
        caller_id=h["cid"],
        org_ids=None if h["sc"] == "*" else frozenset(orjson.loads(h["sc"])),
        list_id=h["li"],
        lists=int(h["nl"]),
        total=int(h["nt"]),
        rate_per_second=float(h["rt"]),
        lifetime_seconds=int(h["lf"]) / 1000,
        mark=h["mk"],
        created_at=moment(h["c"]),
        started_at=moment(h["s"]) if "s" in h else None,
        changed_at=moment(h["ca"]) if "ca" in h else None,
        finished_at=moment(h["e"]) if "e" in h else None,
        next_list=int(h["cu"]),
        next_index=int(h["co"]),
        recorded=int(h["q"]),
        skipped=_counts(h, "k:"),
        plan=_counts(h, "p:"),
    )


def _counts(h: Mapping[str, str], prefix: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, number in h.items():
        if name.startswith(prefix):
            present = name.removeprefix(prefix).replace(FORMER_UNKNOWN, UNKNOWN_USER)
            counts[present] += int(number)
    return counts
