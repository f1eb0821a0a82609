"""Read past resets by the time they were recorded: filtered, or page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from shared.models import Channel, Kind, Status
from shared.store import keys
from shared.store.connection import Client, store_errors, time_ms
from shared.validation import moment, moment_from_us

BUCKET_MS = 600_000  # as in prelude.lua
BUCKETS_AT_ONCE = 36
LONGEST_LIFE_DAYS = 7  # of a reset until it has ended
LINES_AT_ONCE = 500  # what is in memory, and what one round trip asks for
MAX_SCANNED = 10_000  # lines that one page reads
FIELDS = ("u", "o", "ch", "st", "c", "k", "rq")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A past reset in short."""

    reset_id: str
    user_id: str
    org_id: str
    channel: Channel
    status: Status
    created_at: datetime
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """Which past resets; None and empty mean: all."""

    org_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    channel: Channel | None = None
    provider: str | None = None  # of the last attempt
    request_id: str | None = None
    statuses: frozenset[Status] = frozenset()


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """A cursor between two pages, newest first; resets added later do not move it."""

    bucket: int
    shard: int = 0
    end: int | None = None  # of the shard's list in that bucket; None: its present end


class HistoryStore:
    """Read the index of resets by time; reset/record writes it."""

    def __init__(self, client: Client, *, keep_seconds: float) -> None:
        """`keep_seconds`: how long a finished reset can be found."""
        self._client, self._keep_seconds = client, keep_seconds

    def walk(self, wanted: HistoryFilter, *, newest_first: bool = False) -> Iterator[HistoryEntry]:
        """Yield the resets that match, in buckets of ten minutes, shard by shard.

        Hold a few hundred in memory at a time.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        for reset_ids in self._pages(wanted, newest_first=newest_first):
            yield from self._find(reset_ids, wanted)

    def page(
        self,
        wanted: HistoryFilter,
        cursor: HistoryCursor | None,
        *,
        most: int,
        may_see: Callable[[HistoryEntry], bool],
        most_scanned: int | None = None,
    ) -> tuple[list[HistoryEntry], HistoryCursor | None]:
        """Return the next lines, newest first, and the next cursor; None after the last page.

        A page may be short or empty if few match: one call reads at most `most_scanned`.
        """
        now = moment(time_ms(self._client))
        oldest = now - timedelta(seconds=self._keep_seconds, days=1)
        first = _bucket(max(wanted.since or oldest, oldest))
        last = _bucket(min(wanted.until or now, now))
        cursor = cursor if cursor and cursor.bucket <= last else HistoryCursor(last)
        lines: list[HistoryEntry] = []
        scanned = 0
        while cursor.bucket >= first and scanned < (most_scanned or MAX_SCANNED):
            reset_ids, start, cursor = self._step(cursor)
            scanned += len(reset_ids)
            known = {line.reset_id: line for line in self._find(reset_ids, wanted)}
            for number in range(len(reset_ids) - 1, -1, -1):
                line = known.get(reset_ids[number])
                if line and may_see(line):
                    lines.append(line)
                    if len(lines) == most:
                        return lines, replace(start, end=(start.end or 0) + number)
        return lines, cursor if cursor.bucket >= first else None

    def _step(self, cursor: HistoryCursor) -> tuple[list[str], HistoryCursor, HistoryCursor]:
        """Return some ids before a cursor, the cursor of the first, and the next cursor."""
        if cursor.end is None:
            lengths = self._lengths(cursor.bucket)
            filled = [shard for shard in range(cursor.shard, len(lengths)) if lengths[shard]]
            if not filled:
                return [], cursor, self._before_empty(cursor.bucket)
            cursor = HistoryCursor(cursor.bucket, filled[0], lengths[filled[0]])
        end = cursor.end or 0
        start = max(0, end - LINES_AT_ONCE)
        key = keys.made(keys.TAGS[cursor.shard], cursor.bucket)
        with store_errors():
            reset_ids = self._client.lrange(key, start, end - 1) if end else []
        begun = replace(cursor, end=start)
        after = begun if start else self._next_shard(cursor)
        return reset_ids, begun, after

    def _before_empty(self, bucket: int) -> HistoryCursor:
        """Return the cursor before a bucket, behind the next empty ones too."""
        asked = range(bucket - 1, bucket - 1 - BUCKETS_AT_ONCE, -1)
        lengths = self._lengths(*asked)
        first = next((n for n, length in enumerate(lengths) if length), len(lengths) - 1)
        return HistoryCursor(asked[first // keys.SHARDS])

    def _next_shard(self, cursor: HistoryCursor) -> HistoryCursor:
        if cursor.shard + 1 < keys.SHARDS:
            return HistoryCursor(cursor.bucket, cursor.shard + 1)
        return HistoryCursor(cursor.bucket - 1)

    def _pages(self, wanted: HistoryFilter, *, newest_first: bool) -> Iterator[list[str]]:
        now = moment(time_ms(self._client))
        oldest = now - timedelta(seconds=self._keep_seconds, days=LONGEST_LIFE_DAYS)
        since = max(wanted.since or oldest, oldest)
        until = min(wanted.until or now, now)
        first, last = _bucket(since), _bucket(until)
        buckets = range(last, first - 1, -1) if newest_first else range(first, last + 1)
        for key, length in self._lists(buckets):
            starts = range(0, length, LINES_AT_ONCE)
            for start in reversed(starts) if newest_first else starts:
                reset_ids = self._slice(key, start)
                yield reset_ids[::-1] if newest_first else reset_ids

    def _lists(self, buckets: range) -> Iterator[tuple[str, int]]:
        """Yield the lists that are not empty, with their lengths."""
        for start in range(0, len(buckets), BUCKETS_AT_ONCE):
            asked = buckets[start : start + BUCKETS_AT_ONCE]
            names = [keys.made(tag, bucket) for bucket in asked for tag in keys.TAGS]
            lengths = self._lengths(*asked)
            yield from ((n, length) for n, length in zip(names, lengths, strict=True) if length)

    def _lengths(self, *buckets: int) -> list[int]:
        """Return the length of each shard's list, bucket by bucket, in one round trip."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for bucket in buckets:
                for tag in keys.TAGS:
                    pipeline.llen(keys.made(tag, bucket))
            lengths: list[int] = pipeline.execute()
            return lengths

    def _slice(self, key: str, start: int) -> list[str]:
        with store_errors():
            found: list[str] = self._client.lrange(key, start, start + LINES_AT_ONCE - 1)
            return found

    def _find(self, reset_ids: list[str], wanted: HistoryFilter) -> list[HistoryEntry]:
        """Return those that match and have not expired."""
        found = [line for line in self._load(reset_ids) if _matches(line, wanted)]
        if wanted.provider is not None:
            last = self._last_providers(found)
            found = [line for line in found if last[line.reset_id] == wanted.provider]
        return found

    def _load(self, reset_ids: list[str]) -> list[HistoryEntry]:
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for reset_id in reset_ids:
                pipeline.hmget(keys.reset(reset_id), FIELDS)
            found = pipeline.execute()
        return [
            HistoryEntry(
                *(reset_id, h[0], h[1], Channel(h[2]), Status(h[3])), moment_from_us(h[4]), h[6]
            )
            for reset_id, h in zip(reset_ids, found, strict=True)
            if h[0] is not None and h[5] == Kind.RESET
        ]

    def _last_providers(self, lines: list[HistoryEntry]) -> dict[str, str | None]:
        numbers = self._ask(lines, lambda _: "at")
        attempts = self._ask(lines, lambda index: f"a{numbers[index] or 0}")
        return {
            line.reset_id: orjson.loads(attempt)[0] if attempt else None
            for line, attempt in zip(lines, attempts, strict=True)
        }

    def _ask(self, lines: list[HistoryEntry], field_at: Callable[[int], str]) -> list[str | None]:
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for index, line in enumerate(lines):
                pipeline.hget(keys.reset(line.reset_id), field_at(index))
            answers: list[str | None] = pipeline.execute()
            return answers


def _bucket(at: datetime) -> int:
    return int(at.timestamp() * 1000) // BUCKET_MS


def _matches(line: HistoryEntry, wanted: HistoryFilter) -> bool:
    return (
        wanted.org_id in (None, line.org_id)
        and wanted.channel in (None, line.channel)
        and wanted.request_id in (None, line.request_id)
        and (not wanted.statuses or line.status in wanted.statuses)
        and (wanted.since is None or line.created_at >= wanted.since)
        and (wanted.until is None or line.created_at <= wanted.until)
    )
