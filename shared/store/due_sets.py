"""Read the due sets and the workers seen; park and release what is paused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import compress

from shared.errors import StoreUnavailableError
from shared.models import DUE_QUEUES, Channel, Queue
from shared.store import keys
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.connection import Client, none_exists, store_errors, time_ms
from shared.store.scripts import Argument, Scripts
from shared.validation import moment

WORKER_SEEN_SECONDS = 5.0
MAX_IN_ONE_TRIP = 50  # resets of each shard


@dataclass(frozen=True, slots=True)
class DueView:
    """The due sets of one queue, over all shards."""

    due: int  # should be processed now
    waiting: int  # all that are not final
    oldest_age_seconds: float  # how long the longest waiting has been due; 0 when none is
    resets: tuple[tuple[str, Channel], ...]  # some of those due, each shard's oldest first


class DueStore:
    """Read the due sets."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def look(self, queue: Queue, *, grace_seconds: float = 0, most: int = 0) -> DueView:
        """Return what has been due for longer than the grace; `most` counts ids per shard."""
        grace_ms = int(grace_seconds * 1000)
        if self.is_empty(queue):
            return DueView(0, 0, 0.0, ())
        with store_errors():  # most are empty while little is to do
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.exists(keys.due(tag, queue))
            # An error stands for a node that is away: its shards are asked, and left out, below.
            tags = compress(keys.TAGS, pipeline.execute(raise_on_error=False))
        calls = [((keys.due(tag, queue),), (grace_ms, most, tag)) for tag in tags]
        # Between trips Redis serves other clients.
        trips = [[call] for call in calls] if most > MAX_IN_ONE_TRIP else [calls]
        answers = []
        for trip in filter(None, trips):
            answers += self._scripts.run_many("reset/list_due", trip, may_lack=True)
        if calls and not answers:
            raise StoreUnavailableError
        age_ms = max((float(a[2]) for a in answers if a[2] != ""), default=0.0)
        return DueView(
            sum(a[0] for a in answers),
            sum(a[1] for a in answers),
            max(0.0, age_ms / 1000),
            tuple(
                (reset_id, Channel(channel))
                for a in answers
                for reset_id, channel in zip(a[3::2], a[4::2], strict=True)
            ),
        )

    def is_empty(self, queue: Queue) -> bool:
        """Return True if nothing waits in a queue; a cluster is not asked."""
        return none_exists(self._client, [keys.due(tag, queue) for tag in keys.TAGS])

    def now_ms(self) -> float:
        """Return the time by Redis's clock, the only one that counts."""
        return time_ms(self._client)

    def now(self) -> datetime:
        """Return the time by Redis's clock."""
        return moment(self.now_ms())

    def heartbeat(self, worker: str) -> None:
        """Note that a worker is alive; count it if it has just started."""
        known_ms = int(WORKER_SEEN_SECONDS * 12000)
        if self._scripts.run("heartbeat", (keys.WORKERS,), (worker, known_ms)):
            with suppress(StoreUnavailableError), store_errors():  # a full server counts nothing
                for queue in worker.partition(" ")[0].split(","):
                    self._client.hincrby(keys.counters(keys.TAGS[0]), f"ws:{queue}", 1)

    def workers_seen(self, queue: Queue | None = None) -> list[str]:
        """Return a queue's workers seen lately, or all of them.

        A name is the queues it serves, the process, its version and when it started in seconds.
        """
        since = self.now_ms() - WORKER_SEEN_SECONDS * 1000
        with store_errors():
            names = self._client.zrangebyscore(keys.WORKERS, since, "+inf")
        return [n for n in names if queue is None or queue in n.partition(" ")[0].split(",")]

    def deregister(self, worker: str) -> None:
        """Deregister a worker that stopped in order."""
        with store_errors():
            self._client.zrem(keys.WORKERS, worker)


PARKED_SECONDS = 600.0  # how long paused ones are postponed; so a hundred thousand cost little
PARKED_SPREAD_SECONDS = 1200.0
MAX_PER_STEP = 25  # due ones that one script reads; Redis serves no other client meanwhile
RELEASER_SECONDS = 10
PROVIDER_PAUSED = "provider_paused"  # why a reset waits whose providers are all paused
FIELDS = {Scope.QUEUE: "q", Scope.CHANNEL: "ch", Scope.ORGANISATION: "o", Scope.PROVIDER: ""}


@dataclass(frozen=True, slots=True)
class WalkCursor:
    """A cursor of a scan over the due sets."""

    number: int = 0  # of the due set
    cursor: str = "0"

    def where(self, release: Release) -> tuple[str, Queue]:
        """Return the hash tag and queue of the due set."""
        shard, queue = divmod(self.number, len(_queues(release)))
        return keys.TAGS[shard], _queues(release)[queue]

    def after(self, cursor: str) -> WalkCursor:
        """Return the next cursor, after Redis returned `cursor`."""
        return WalkCursor(self.number + 1) if cursor == "0" else replace(self, cursor=cursor)

    def is_over(self, release: Release) -> bool:
        """Return True after the last due set."""
        return self.number >= len(keys.TAGS) * len(_queues(release))


def _reason(scope: Scope) -> str:
    return PROVIDER_PAUSED if scope is Scope.PROVIDER else f"paused_{scope}"


def _queues(release: Release) -> tuple[Queue, ...]:
    return (Queue(release.name),) if release.scope is Scope.QUEUE else DUE_QUEUES


class WaitingStore:
    """Park what is paused, and make it due again."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def park(self, queue: Queue, pauses: Sequence[Pause]) -> int:
        """Postpone what is due and paused; return how many this step postponed."""
        arguments: list[Argument] = [MAX_PER_STEP]
        arguments += [int(PARKED_SECONDS * 1000), int(PARKED_SPREAD_SECONDS * 1000)]
        for pause in pauses:
            arguments += [pause.scope.value, pause.name]
        calls = [((keys.due(tag, queue),), (tag, *arguments)) for tag in keys.TAGS]
        return sum(self._park(*call) for call in calls)

    def _park(self, names: tuple[str], arguments: Sequence[Argument]) -> int:
        """Run one script, then rest as long as it took, so that Redis serves other clients."""
        began = time.monotonic()
        parked: int = self._scripts.run("admin/park", names, arguments)
        if parked:
            time.sleep(time.monotonic() - began)
        return parked

    def let_go(self, release: Release, position: WalkCursor) -> tuple[WalkCursor, Release]:
        """Release one step of a scan over all due sets; a step may find nothing."""
        tag, queue = position.where(release)
        since_ms = round(release.since.timestamp() * 1000)
        cursor, moved, late = self._scripts.run(
            "admin/unpark",
            (keys.due(tag, queue),),
            (
                *(tag, position.cursor, MAX_PER_STEP, _reason(release.scope)),
                *(FIELDS[release.scope], release.name, release.release_id, since_ms),
                *(release.moved, release.per_second),
            ),
        )
        progress = replace(
            release, moved=release.moved + int(moved), too_late=release.too_late + int(late)
        )
        if moved:
            self._note(release, progress)
        return position.after(str(cursor)), progress

    def may_let_go(self, worker: str) -> bool:
        """Return True for one worker at a time: two together would exceed the rate."""
        with store_errors():
            if self._client.set(keys.RELEASER, worker, nx=True, ex=RELEASER_SECONDS):
                return True
            if self._client.get(keys.RELEASER) != worker:
                return False
            return bool(self._client.expire(keys.RELEASER, RELEASER_SECONDS))

    def end(self, release: Release) -> None:
        """Delete a release that is complete."""
        self._note(release, None)

    def hold(self, reset_id: str, *, by: str, reason: str) -> str:
        """Hold a reset; return `held`, or the reason why that is impossible."""
        detail = f"by {by}: {reason}"
        answer: str = self._scripts.run("reset/hold", (keys.reset(reset_id),), (detail,))
        return answer

    def release(self, reset_id: str, *, by: str, reason: str) -> str:
        """Release a held reset; return `released`, or the reason why that is impossible."""
        tag = keys.tag_of(reset_id)
        names = (keys.reset(reset_id), *(keys.due(tag, queue) for queue in DUE_QUEUES))
        answer: str = self._scripts.run("reset/release", names, (reset_id, f"by {by}: {reason}"))
        return answer

    def recall(self, reset_id: str) -> bool:
        """Requeue a reset whose claim's answer was lost; return False if an attempt is running."""
        tag = keys.tag_of(reset_id)
        names = (keys.reset(reset_id), *(keys.due(tag, queue) for queue in DUE_QUEUES))
        return bool(self._scripts.run("reset/requeue", names, (reset_id,)))

    def _note(self, before: Release, now: Release | None) -> None:
        texts = (before.key, before.serialised, now.serialised if now else "")
        self._scripts.run("admin/update_release", (keys.RELEASES,), texts)
