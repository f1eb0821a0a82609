"""Store providers' reports: received once, kept in order, applied by a worker."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import redis

from shared.errors import StoreUnavailableError
from shared.models import CallbackEvent, EventType, Queue, Status
from shared.organisations.sender import label
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import AWAY, Client, none_exists, store_errors
from shared.store.scripts import Argument, Scripts

MAX_WAITING = 12_500  # of one shard; when full, providers must send it again later
MARK_BYTES = 8
# Upper bounds of the histogram from the record to the recipient, in ms; the last is open.
DELIVERED_BUCKETS_MS = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report that waits to be applied, and its item in the list."""

    event: CallbackEvent
    item: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The effect of a report on its reset."""

    before: Status | None  # None: the record is gone
    after: Status | None  # None: it changed no status


class ReceiptStore:
    """Receive, list and apply reports."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client, settings.durability)
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)

    def receive(self, provider: str, events: Iterable[CallbackEvent]) -> set[int]:
        """Store each report once, however often it comes; return the shards with new ones.

        Reports of unknown resets are only counted.

        Raises:
            StoreUnavailableError: some were not stored, or not as durably as KEYTURN_DURABILITY
                asks for; all of them may be sent again.
        """
        by_shard: defaultdict[int, list[Argument]] = defaultdict(list)
        passed_over: Counter[str] = Counter()
        for event in events:
            shard = keys.find_shard(event.reset_id)
            if shard < 0 or not event.reset_id.isalnum():
                passed_over["unknown"] += 1
                continue
            by_shard[shard] += _arguments(event)
        fresh = {s for s, reports in by_shard.items() if self._receive(provider, s, reports)}
        self.count(provider, passed_over)
        return fresh

    def _receive(self, provider: str, shard: int, reports: list[Argument]) -> bool:
        tag = keys.TAGS[shard]
        answer = self._scripts.run_durably(
            "receipt/receive",
            (keys.receipts(tag), keys.counters(tag)),
            (tag, provider, MAX_WAITING, *reports),
        )
        if answer[0] == "full":
            raise StoreUnavailableError
        return int(answer[0]) > 0

    def count(self, provider: str, outcomes: Counter[str]) -> None:
        """Count reports that were not stored: refused, foreign, ignored, unread."""
        if outcomes:
            with store_errors():
                pipeline = self._client.pipeline(transaction=False)
                for outcome, number in outcomes.items():
                    pipeline.hincrby(
                        keys.counters(keys.TAGS[0]), f"cb:{label(provider)}:{outcome}", number
                    )
                pipeline.execute()

    def shards_waiting(self) -> list[int]:
        """Return the shards that have reports to be applied."""
        return [shard for shard, length in enumerate(self._lengths()) if length]

    def depth(self) -> int:
        """Return how many reports wait to be applied."""
        return sum(self._lengths())

    def _lengths(self) -> list[int]:
        names = [keys.receipts(tag) for tag in keys.TAGS]
        if none_exists(self._client, names):
            return []
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.llen(name)
            lengths = pipeline.execute(raise_on_error=False)
            for each in lengths:
                if isinstance(each, redis.RedisError) and not isinstance(each, AWAY):
                    raise each
            return [0 if isinstance(each, AWAY) else each for each in lengths]

    def head(self, shard: int, *, most: int) -> Sequence[Waiting]:
        """Return the reports that have waited longest, in order."""
        with store_errors():
            items = self._client.lrange(keys.receipts(keys.TAGS[shard]), 0, most - 1)
        return [Waiting(_parse(item), item) for item in items]

    def settle(self, waiting: Waiting, *, offered_id: str | None = None) -> Settled | None:
        """Apply the first report of a list and remove it; return None if another worker did.

        `offered_id`: the reset on the other channel that was recorded because of this report.
        What a worker stores later of the attempt does not change the status.
        """
        event = waiting.event
        tag = keys.tag_of(event.reset_id)
        answer = self._scripts.run(
            "receipt/apply",
            (
                keys.reset(event.reset_id),
                keys.receipts(tag),
                keys.due(tag, Queue.URGENT),
                keys.due(tag, Queue.BULK),
                keys.counters(tag),
            ),
            (
                *(waiting.item, event.reset_id, tag, self._keep_ms),
                *(event.type.value, event.status.value if event.status else ""),
                *(event.at_ms or 0, event.provider, event.message_id, event.reason, event.detail),
                offered_id or "",
                *DELIVERED_BUCKETS_MS,
            ),
        )
        if answer[0] == "moved":
            return None
        if answer[0] == "unknown":
            return Settled(None, None)
        return Settled(Status(answer[1]), Status(answer[2]) if answer[2] else None)


def _arguments(event: CallbackEvent) -> list[Argument]:
    """Return id, mark, time and the rest: the script's arguments for one report."""
    identity = f"{event.provider}:{event.event_id}".encode()
    mark = hashlib.blake2b(identity, digest_size=MARK_BYTES).hexdigest()
    rest = orjson.dumps(
        [
            *(mark, event.provider, event.type.value, event.message_id),
            *(event.reason, event.detail, event.suppression),
        ]
    ).decode()
    return [event.reset_id, mark, "" if event.at_ms is None else event.at_ms, rest]


def _parse(item: str) -> CallbackEvent:
    reset_id, at_ms, rest = item.split(" ", 2)
    mark, provider, kind, message_id, reason, detail, suppression = orjson.loads(rest)
    return CallbackEvent(
        reset_id=reset_id,
        provider=provider,
        event_id=mark,
        type=EventType(kind),
        at_ms=int(at_ms),
        message_id=message_id,
        reason=reason,
        detail=detail,
        suppression=suppression,
    )
