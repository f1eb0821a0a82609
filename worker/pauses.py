"""Periodic jobs: park the resets that a pause covers, release them when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from shared.models import Queue
from shared.store.admin.pauses import PauseStore, Release
from shared.store.due_sets import MAX_PER_STEP, WaitingStore, WalkCursor

log = structlog.get_logger()

STALE_SECONDS = 5.0  # after a resume, until when a worker may still have parked something
STEP_SECONDS = 0.2  # of a sweep, for parking or releasing


class PauseKeeper:
    """Periodic jobs of a sweeper: park what is paused, release what was resumed."""

    def __init__(
        self,
        pauses: PauseStore,
        waiting: WaitingStore,
        queues: tuple[Queue, ...],
        *,
        worker: str,
        now: Callable[[], float],
    ) -> None:
        """`now` gives Redis's time in ms; `worker` is how this process is known."""
        self._pauses, self._waiting, self._queues = pauses, waiting, queues
        self._worker, self._now_ms = worker, now
        self._walks: dict[str, tuple[float, WalkCursor]] = {}  # release → begun at, cursor

    def park(self) -> int:
        """Park what is due and paused; return how many resets that were."""
        pauses, number = self._pauses.all(), 0
        for queue in self._queues if pauses else ():
            until = time.monotonic() + STEP_SECONDS
            while time.monotonic() < until:
                parked = self._waiting.park(queue, pauses)
                number += parked
                if parked < MAX_PER_STEP:
                    break
        return number

    def let_go(self) -> int:
        """Take a few steps of each release under way; return how many resets became due."""
        releases = self._pauses.releases() if self._queues else []
        if not releases or not self._waiting.may_let_go(self._worker):
            self._walks.clear()
            return 0
        return sum(self._walk(release) for release in releases)

    def _walk(self, release: Release) -> int:
        before = release.moved
        begun, cursor = self._walks.get(release.release_id) or (self._now_ms(), WalkCursor())
        until = time.monotonic() + STEP_SECONDS
        while time.monotonic() < until and not cursor.is_over(release):
            cursor, release = self._waiting.let_go(release, cursor)
        self._walks[release.release_id] = (begun, cursor)
        if cursor.is_over(release):
            del self._walks[release.release_id]
            if begun > (release.since.timestamp() + STALE_SECONDS) * 1000:
                self._waiting.end(release)
                log.info(
                    "pause.released",
                    scope=release.scope.value,
                    name=release.name,
                    moved=release.moved,
                    too_late=release.too_late,
                )
        return release.moved - before
