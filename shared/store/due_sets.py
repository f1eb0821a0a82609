"""What is due: the sweepers' and the operators' view of the due sets, and who sweeps them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.models import DUE_QUEUES, Channel, Queue
from shared.store import keys
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.connection import Client, store_errors
from shared.store.records import moment
from shared.store.scripts import Argument, Scripts

WORKER_SEEN_SECONDS = 5.0
MAX_IN_ONE_TRIP = 50  # resets of each shard


@dataclass(frozen=True, slots=True)
class DueView:
    """One queue over all shards."""

    due: int  # should be looked at now
    waiting: int  # all that are not final
    oldest_age_seconds: float  # how long the longest waiting has been due; 0 when none is
    resets: tuple[tuple[str, Channel], ...]  # some of those due, each shard's oldest first


class DueStore:
    """Reads the due sets."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def look(self, queue: Queue, *, grace_seconds: float = 0, most: int = 0) -> DueView:
        """What has been due for longer than the grace; `most` counts ids per shard."""
        grace_ms = int(grace_seconds * 1000)
        calls = [((keys.due(tag, queue),), (grace_ms, most, tag)) for tag in keys.TAGS]
        if most > MAX_IN_ONE_TRIP:  # others are served between shards
            answers = [self._scripts.run("due", *call) for call in calls]
        else:
            answers = self._scripts.run_many("due", calls)
        now = self.now_ms()
        oldest = min((float(a[2]) for a in answers if a[2] != ""), default=now)
        return DueView(
            sum(a[0] for a in answers),
            sum(a[1] for a in answers),
            max(0.0, (now - oldest) / 1000),
            tuple(
                (reset_id, Channel(channel))
                for a in answers
                for reset_id, channel in zip(a[3::2], a[4::2], strict=True)
            ),
        )

    def now_ms(self) -> float:
        """Redis's clock, the only one."""
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds / 1000)

    def now(self) -> datetime:
        """Redis's clock as a moment."""
        return moment(self.now_ms())

    def heartbeat(self, worker: str) -> None:
        """A worker is there and sweeping."""
        self._scripts.run("seen", (keys.WORKERS,), (worker, int(WORKER_SEEN_SECONDS * 12000)))

    def workers_seen(self, queue: Queue) -> list[str]:
        """The workers of a queue that said so lately; a name begins with the queues it serves."""
        since = self.now_ms() - WORKER_SEEN_SECONDS * 1000
        with store_errors():
            names = self._client.zrangebyscore(keys.WORKERS, since, "+inf")
        return [name for name in names if queue in name.partition(" ")[0].split(",")]

    def deregister(self, worker: str) -> None:
        """A worker ended in order."""
        with store_errors():
            self._client.zrem(keys.WORKERS, worker)


PARKED_SECONDS = 600.0  # paused ones are looked at so seldom that a hundred thousand cost little
PARKED_SPREAD_SECONDS = 1200.0
MAX_PER_STEP = 25  # due ones that one script looks at; Redis serves nobody else meanwhile
RELEASER_SECONDS = 10
NO_PROVIDER = "provider_paused"  # why a reset waits whose providers are all paused
FIELDS = {Scope.QUEUE: "q", Scope.CHANNEL: "ch", Scope.ORGANISATION: "o", Scope.PROVIDER: ""}


@dataclass(frozen=True, slots=True)
class WalkCursor:
    """Where a walk over the due sets has come to."""

    number: int = 0  # of the due set
    cursor: str = "0"

    def where(self, release: Release) -> tuple[str, Queue]:
        """The due set: its hash tag and queue."""
        shard, queue = divmod(self.number, len(_queues(release)))
        return keys.TAGS[shard], _queues(release)[queue]

    def after(self, cursor: str) -> WalkCursor:
        """The next place, when the scan of this one says `cursor`."""
        return WalkCursor(self.number + 1) if cursor == "0" else replace(self, cursor=cursor)

    def is_over(self, release: Release) -> bool:
        """True behind the last due set."""
        return self.number >= len(keys.TAGS) * len(_queues(release))


def _reason(scope: Scope) -> str:
    return NO_PROVIDER if scope is Scope.PROVIDER else f"paused_{scope}"


def _queues(release: Release) -> tuple[Queue, ...]:
    return (Queue(release.name),) if release.scope is Scope.QUEUE else DUE_QUEUES


class WaitingStore:
    """Parks what is paused, and makes it due again."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def park(self, queue: Queue, pauses: Sequence[Pause]) -> int:
        """Let what is due and paused wait long; gives how many of this step were."""
        facts: list[Argument] = [MAX_PER_STEP]
        facts += [int(PARKED_SECONDS * 1000), int(PARKED_SPREAD_SECONDS * 1000)]
        for pause in pauses:
            facts += [pause.scope.value, pause.name]
        calls = [((keys.due(tag, queue),), (tag, *facts)) for tag in keys.TAGS]
        return sum(self._park(*call) for call in calls)

    def _park(self, where: tuple[str], facts: Sequence[Argument]) -> int:
        """One command, and as long a rest for whoever else needs Redis."""
        began = time.monotonic()
        parked: int = self._scripts.run("park", where, facts)
        if parked:
            time.sleep(time.monotonic() - began)
        return parked

    def let_go(self, release: Release, place: WalkCursor) -> tuple[WalkCursor, Release]:
        """One step of a walk over all due sets; a step may meet nothing that waits."""
        tag, queue = place.where(release)
        since_ms = round(release.since.timestamp() * 1000)
        cursor, moved, late = self._scripts.run(
            "unpark",
            (keys.due(tag, queue),),
            (
                *(tag, place.cursor, MAX_PER_STEP, _reason(release.scope)),
                *(FIELDS[release.scope], release.name, release.release_id, since_ms),
                *(release.moved, release.per_second),
            ),
        )
        told = replace(
            release, moved=release.moved + int(moved), too_late=release.too_late + int(late)
        )
        if moved:
            self._note(release, told)
        return place.after(str(cursor)), told

    def may_let_go(self, worker: str) -> bool:
        """True for one worker at a time: two would keep no pace together."""
        with store_errors():
            if self._client.set(keys.RELEASER, worker, nx=True, ex=RELEASER_SECONDS):
                return True
            if self._client.get(keys.RELEASER) != worker:
                return False
            return bool(self._client.expire(keys.RELEASER, RELEASER_SECONDS))

    def end(self, release: Release) -> None:
        """All of it was let go."""
        self._note(release, None)

    def hold(self, reset_id: str, *, by: str, reason: str) -> str:
        """Keep one reset from going out; `held`, or the word that says why that is impossible."""
        told = f"by {by}: {reason}"
        answer: str = self._scripts.run("hold", (keys.reset(reset_id),), (told,))
        return answer

    def release(self, reset_id: str, *, by: str, reason: str) -> str:
        """Let a held reset go out at once; `released`, or why that is impossible."""
        tag = keys.tag_of(reset_id)
        where = (keys.reset(reset_id), *(keys.due(tag, queue) for queue in DUE_QUEUES))
        answer: str = self._scripts.run("let_go", where, (reset_id, f"by {by}: {reason}"))
        return answer

    def recall(self, reset_id: str) -> bool:
        """Give back a claim whose answer was lost; False when there is none, or it is at work."""
        tag = keys.tag_of(reset_id)
        where = (keys.reset(reset_id), *(keys.due(tag, queue) for queue in DUE_QUEUES))
        return bool(self._scripts.run("recall", where, (reset_id,)))

    def _note(self, before: Release, now: Release | None) -> None:
        texts = (before.key, before.serialised, now.serialised if now else "")
        self._scripts.run("note_release", (keys.RELEASES,), texts)
