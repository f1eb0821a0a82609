"""Read counters, samples and server information, for /metrics and `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import redis

from shared.models import Queue
from shared.store import keys
from shared.store.connection import Client, nodes_of, store_errors, time_ms

LAST_CALLBACK = "last:"
UNFILLED = "text:"


class CounterStore:
    """Read the counters; the scripts write most of them, in the same step as what they count."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def totals(self) -> Counter[str]:
        """Return every counter by its name in the scripts, summed over the shards.

        `in:<queue>`, `out:<queue>` (recorded, final), `now:<status>`,
        `to:<channel>:<status>`, `completed`,
        `p:<provider>:<outcome>:n|ms|b<upper bound in ms>`, `cb:<provider>:<outcome>` (callbacks),
        `d:<channel>:<provider>:ms|b<upper bound in ms>` (from the record to the recipient),
        `s:<channel>:<queue>:ms|b<upper bound in ms>` (from the record to acceptance),
        `w:<outcome>` (webhooks), `forgot:late|unreadable` (requests that were dropped),
        `lp:<outcome>` (look-ups of leaked passwords), `poison`,
        `unread` (messages in the broker that were no hints), `ws:<queue>` (worker processes that
        started), `wrong:typed|link` (codes), `text:<language>:<organisation>` (own sentences that
        could not be filled),
        and, the newest of all shards, `last:<provider>`: when its last callback came, in ms.
        """
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.hgetall(keys.counters(tag))
            shards = pipeline.execute()
        totals: Counter[str] = Counter()
        for shard in shards:
            totals.update({n: int(v) for n, v in shard.items() if not n.startswith(LAST_CALLBACK)})
            for name in filter(lambda name: name.startswith(LAST_CALLBACK), shard):
                totals[name] = max(totals[name], int(shard[name]))
        return totals

    def add(self, name: str, number: int = 1) -> None:
        """Count what no script counts."""
        with store_errors():
            self._client.hincrby(keys.counters(keys.TAGS[0]), name, number)


SAMPLE_INTERVAL_SECONDS = 10
MAX_SAMPLES = 37  # six minutes
# The counters that are sampled, by the first part of their names.
KINDS = ("in", "out", "p", "cb", "ws", "unread", "wrong", "text")


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """What was counted in the last `seconds`."""

    seconds: float
    counts: Mapping[str, int]

    def per_minute(self, name: str) -> float:
        """Return the rate of a counter."""
        return self.counts.get(name, 0) * 60 / self.seconds


class SampleStore:
    """Sample the counters, and read what was counted since."""

    def __init__(self, client: Client, counters: CounterStore) -> None:
        """`client` may be a fake one."""
        self._client, self._counters = client, counters

    def take(self) -> bool:
        """Take a sample; return False if any process took one in this interval."""
        with store_errors():
            if not self._client.set(keys.SAMPLED, 1, nx=True, ex=SAMPLE_INTERVAL_SECONDS):
                return False
        sample = orjson.dumps([time_ms(self._client), self._read()])
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.lpush(keys.SAMPLES, sample)
            pipeline.ltrim(keys.SAMPLES, 0, MAX_SAMPLES - 1)
            pipeline.expire(keys.SAMPLES, MAX_SAMPLES * SAMPLE_INTERVAL_SECONDS)
            pipeline.execute()
        return True

    def recent(self, *spans_seconds: float) -> list[RecentCounts | None]:
        """Return what was counted in each of these spans; None without a sample.

        A span begins at the youngest sample that is old enough, else at the oldest one.
        """
        with store_errors():
            samples = [orjson.loads(each) for each in self._client.lrange(keys.SAMPLES, 0, -1)]
        now_ms, present = time_ms(self._client), self._read()
        return [_since(samples, now_ms, present, span) for span in spans_seconds]

    def rates(self, *names: str) -> dict[str, list[float]]:
        """Return each counter a minute between every two samples, the oldest first."""
        with store_errors():
            samples = [orjson.loads(each) for each in self._client.lrange(keys.SAMPLES, 0, -1)]
        samples.reverse()
        pairs = [(old, new) for old, new in pairwise(samples) if new[0] > old[0]]
        return {
            name: [
                (new[1].get(name, 0) - old[1].get(name, 0)) * 60_000 / (new[0] - old[0])
                for old, new in pairs
            ]
            for name in names
        }

    def _read(self) -> dict[str, int]:
        totals = self._counters.totals()
        return {name: n for name, n in totals.items() if name.partition(":")[0] in KINDS}


def _since(
    samples: list[tuple[float, dict[str, int]]],
    now_ms: float,
    present: Mapping[str, int],
    span_seconds: float,
) -> RecentCounts | None:
    fitting = [each for each in samples if now_ms - each[0] >= span_seconds * 1000]
    found = fitting[0] if fitting else samples[-1] if samples else None
    if found is None or now_ms <= found[0]:
        return None
    past = Counter(found[1])
    counts = {name: number - past[name] for name, number in present.items()}
    return RecentCounts((now_ms - found[0]) / 1000, counts)


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """The figures of INFO that may need action; the worst of a cluster's nodes."""

    memory_ratio: float  # of `maxmemory`, or of the machine's memory if there is no limit
    has_append_only_file: bool
    is_written: bool  # the last write to the append-only file went well, or there is none
    replicas: int  # connected


# Why a server takes no writes, by a word of its error.
READ_ONLY = {
    "ReadOnlyError": "it is a replica",
    "OutOfMemoryError": "its memory is full",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas are connected to it",
}


class ServerStore:
    """Read the figures of the server itself."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def refusal(self) -> str | None:
        """Return why the server takes no writes, by trying one; None if it does.

        Of a cluster, the node that every accept needs.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        with store_errors():
            try:
                self._client.set(keys.confirmed(keys.GATE), 1)
            except redis.ResponseError as error:
                text = f"{type(error).__name__} {error}"
                for word, why in READ_ONLY.items():
                    if word in text:
                        return f"read-only: {why}"
                raise
        return None

    def hints(self, queue: Queue) -> int:
        """Return how many hints wait in a queue of kombu's, where the broker is this server.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        with store_errors():
            return int(self._client.llen(queue.value))

    def health(self) -> ServerHealth | None:
        """Return the figures of INFO; None if we may not ask for them.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        with store_errors():
            try:
                infos: list[dict[str, Any]] = [node.info() for node in nodes_of(self._client)]
            except redis.ResponseError:
                return None
        return ServerHealth(
            max(map(_memory_ratio, infos)),
            all(info.get("aof_enabled") == 1 for info in infos),
            all(info.get("aof_last_write_status", "ok") == "ok" for info in infos),
            min(info.get("connected_slaves", 0) for info in infos),
        )


def _memory_ratio(info: Mapping[str, Any]) -> float:
    limit = info.get("maxmemory") or info.get("total_system_memory") or 0
    return float(info.get("used_memory", 0) / limit) if limit else 0.0
