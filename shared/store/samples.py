"""Samples of the counters, a few seconds apart: what happened lately, not since the beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.counters import CounterStore

PACE_SECONDS = 10
MOST_SAMPLES = 37  # six minutes
KINDS = ("in", "out", "p", "cb")  # counters that are sampled, by the first part of their names


@dataclass(frozen=True, slots=True)
class Lately:
    """What was counted within so many seconds, up to now."""

    seconds: float
    counted: Mapping[str, int]

    def per_minute(self, name: str) -> float:
        """How often in a minute."""
        return self.counted.get(name, 0) * 60 / self.seconds


class SampleStore:
    """Takes samples, and tells the difference to now."""

    def __init__(self, client: Client, counters: CounterStore) -> None:
        """`client` may be a fake one."""
        self._client, self._counters = client, counters

    def take(self) -> bool:
        """A sample, when none was taken lately; whoever comes first takes it."""
        with store_errors():
            if not self._client.set(keys.SAMPLED, 1, nx=True, ex=PACE_SECONDS):
                return False
        sample = orjson.dumps([self._now_ms(), self._read()])
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.lpush(keys.SAMPLES, sample)
            pipeline.ltrim(keys.SAMPLES, 0, MOST_SAMPLES - 1)
            pipeline.expire(keys.SAMPLES, MOST_SAMPLES * PACE_SECONDS)
            pipeline.execute()
        return True

    def lately(self, *spans_seconds: float) -> list[Lately | None]:
        """What was counted in each of these spans; the youngest sample that is old enough serves.

        Where none is, the oldest one does; None where there is none at all.
        """
        with store_errors():
            samples = [orjson.loads(each) for each in self._client.lrange(keys.SAMPLES, 0, -1)]
        now_ms, present = self._now_ms(), self._read()
        return [_since(samples, now_ms, present, span) for span in spans_seconds]

    def _read(self) -> dict[str, int]:
        totals = self._counters.totals()
        return {name: n for name, n in totals.items() if name.partition(":")[0] in KINDS}

    def _now_ms(self) -> float:
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds / 1000)


def _since(
    samples: list[tuple[float, dict[str, int]]],
    now_ms: float,
    present: Mapping[str, int],
    span_seconds: float,
) -> Lately | None:
    fitting = [each for each in samples if now_ms - each[0] >= span_seconds * 1000]
    found = fitting[0] if fitting else samples[-1] if samples else None
    if found is None or now_ms <= found[0]:
        return None
    past = Counter(found[1])
    counted = {name: number - past[name] for name, number in present.items()}
    return Lately((now_ms - found[0]) / 1000, counted)
