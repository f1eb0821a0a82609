"""Batches: what was asked for, how far each is, who works on it; the lists stand beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from shared.models import Status
from shared.settings import Settings
from shared.store import keys
from shared.store.audit import MOST_KEPT
from shared.store.batch_records import (
    Batch,
    BatchState,
    NewBatch,
    Place,
    Verb,
    batch_as_hash,
    batch_from_hash,
)
from shared.store.connection import Client, store_errors
from shared.store.records import moment
from shared.store.scripts import Argument, Scripts

LEASE_SECONDS = 15.0


class BatchStore:
    """The batches' own records; every change of state stands in the audit trail."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client, settings.durability)
        self._keep_seconds = settings.record_lifetime_seconds

    def lifetime_seconds(self, total: int, rate_per_second: float) -> float:
        """How long a batch and its lists are kept: its own length, a week of pauses, a record."""
        own = total / rate_per_second if rate_per_second else 0
        return own + self._keep_seconds + 7 * 86_400

    def begin(self, new: NewBatch, *, action: str) -> str:
        """`begun`, `known` (the same stands there), or `other` (the id stands for another)."""
        arguments: list[Argument] = [new.batch_id, new.mark, new.by, action, new.reason]
        arguments += [int(new.lifetime_seconds * 1000), MOST_KEPT]
        told: str = self._scripts.run_durably(
            "batch_begin", _gate_keys(new.batch_id), arguments + _flat(batch_as_hash(new))
        )
        if told == "known":
            self._scripts.confirm(keys.GATE)
        return told

    def find(self, batch_id: str) -> Batch | None:
        """The batch, or None when there is none by that id."""
        with store_errors():
            h = self._client.hgetall(keys.batch(batch_id))
        return batch_from_hash(batch_id, h) if h else None

    def state(self, batch_id: str) -> tuple[BatchState, datetime | None] | None:
        """The state and its last change; None when the batch is no longer kept."""
        with store_errors():
            state, changed = self._client.hmget(keys.batch(batch_id), "st", "ca")
        return (BatchState(state), moment(changed) if changed else None) if state else None

    def change(
        self,
        batch: Batch,
        verb: Verb,
        *,
        by: str,
        reason: str,
        rate_per_second: float | None = None,
    ) -> tuple[str, str]:
        """(`changed`, `same`, `refused` or `absent`, the state before).

        `rate_per_second` is taken at the start alone; None leaves the plan's.
        """
        rate = batch.rate_per_second if rate_per_second is None else rate_per_second
        lifetime_ms = int(self.lifetime_seconds(batch.total, rate) * 1000)
        arguments: list[Argument] = [batch.batch_id, verb.value, by, reason, lifetime_ms, MOST_KEPT]
        answer: Sequence[str] = self._scripts.run_durably(
            "batch_change", _gate_keys(batch.batch_id), [*arguments, "rt", rate]
        )
        return answer[0], answer[1]

    def to_feed(self) -> list[str]:
        """The batches that have work and that nobody is at; forgets those that ended."""
        with store_errors():
            batch_ids = sorted(self._client.smembers(keys.ACTIVE_BATCHES))
            pipeline = self._client.pipeline(transaction=False)
            for batch_id in batch_ids:
                pipeline.hmget(keys.batch(batch_id), "st", "lu")
            pipeline.time()
            *facts, (seconds, microseconds) = pipeline.execute()
            now_ms = seconds * 1000 + microseconds // 1000
            found = dict(zip(batch_ids, facts, strict=True))
            ended = [b for b, (state, _) in found.items() if state in (None, BatchState.CANCELLED)]
            if ended:
                self._client.srem(keys.ACTIVE_BATCHES, *ended)
        works = (BatchState.PLANNING, BatchState.RUNNING)
        return [b for b, (st, lease) in found.items() if st in works and int(lease) <= now_ms]

    def active(self) -> list[Batch]:
        """The batches that have not ended, paused ones too."""
        with store_errors():
            batch_ids = sorted(self._client.smembers(keys.ACTIVE_BATCHES))
        return [found for batch_id in batch_ids if (found := self.find(batch_id))]

    def take(self, batch_id: str) -> int:
        """The fence of a lease on a batch; 0: somebody has it, or there is nothing to do."""
        lease_ms = int(LEASE_SECONDS * 1000)
        return int(self._scripts.run("batch_take", (keys.batch(batch_id),), (lease_ms,)))

    def grant(self, batch_id: str, fence: int, wanted: int) -> int:
        """How many users may be taken at the batch's pace; -1: the lease or the batch is over."""
        arguments = (fence, wanted, int(LEASE_SECONDS * 1000))
        return int(self._scripts.run("batch_grant", (keys.batch(batch_id),), arguments))

    def advance(
        self,
        batch_id: str,
        fence: int,
        next_place: Place,
        counts: Mapping[str, int],
        *,
        refund: int = 0,
        is_end: bool = False,
    ) -> bool:
        """Move on to the next user and count, in one step; False when the lease was lost.

        `refund`: users taken at the batch's pace to whom nothing is sent.
        """
        arguments: list[Argument] = [batch_id, fence, next_place.list_number, next_place.place]
        arguments += [refund, int(is_end), *_flat(counts)]
        names = (keys.batch(batch_id), keys.ACTIVE_BATCHES)
        return bool(self._scripts.run("batch_advance", names, arguments))

    def let_go(self, batch_id: str, fence: int, *, is_finished: bool = False) -> bool:
        """End a lease; True when this made the batch finished."""
        names = (keys.batch(batch_id), keys.ACTIVE_BATCHES)
        answer = self._scripts.run("batch_end", names, (batch_id, fence, int(is_finished)))
        return bool(answer)

    def ends(self, batch_id: str) -> Counter[tuple[Status, str]]:
        """How many resets of a batch ended how and why, over all shards."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.hgetall(keys.batch_ends(tag, batch_id))
            shards = pipeline.execute()
        total: Counter[tuple[Status, str]] = Counter()
        for shard in shards:
            for name, number in shard.items():
                status, _, reason = name.partition(":")
                total[Status(status), reason] += int(number)
        return +total


def _gate_keys(batch_id: str) -> tuple[str, ...]:
    return keys.batch(batch_id), keys.ACTIVE_BATCHES, keys.AUDIT


def _flat(facts: Mapping[str, Argument]) -> list[Argument]:
    return [part for pair in facts.items() for part in pair]
