"""Hint at what is due, from a thread in every worker process, and run periodic jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import structlog

from shared.errors import StoreUnavailableError
from shared.models import Channel, Queue
from shared.queue import Hint, hint_at, hint_at_many
from shared.store.due_sets import DueStore
from shared.store.keys import SHARDS
from shared.wiring import Hints

log = structlog.get_logger()

GRACE_SECONDS = 0.25  # the first hint of a new reset is on its way
MAX_PER_SHARD = 10
MAX_WAITING = 40  # hints in the broker; above, workers are busy and a sweep publishes none
# For queues whose resets by e-mail are gathered: a hint names many, so a shard returns more.
MAX_IN_A_HINT = 1000
MAX_GATHERED_PER_SHARD = 63
MAX_GATHERED_WAITING = 2
GATHERED_AGAIN_SECONDS = 5.0  # for a reset still due then, the hint is lost or far behind
DueReset: TypeAlias = tuple[str, Channel]
PeriodicJob: TypeAlias = Callable[[], object]  # quick: the next sweep waits for it


class Sweeper:
    """Publishes hints for due resets; many sweepers are harmless, because each claim is unique."""

    def __init__(
        self,
        dues: DueStore,
        hints: Hints,
        queues: tuple[Queue, ...],
        *,
        worker: str,
        pace_seconds: float,
        jobs: Sequence[PeriodicJob] = (),
        gathered: Sequence[Queue] = (),
        is_busy: Callable[[], bool] = lambda: False,
        verify: PeriodicJob = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`worker` is this process's name; `jobs` run after every sweep, `verify` before it.

        A worker whose `verify` fails is not seen.

        Resets by e-mail of the `gathered` queues share hints, and get none while `is_busy`; the
        others have one each.
        """
        self._dues, self._hints, self._queues, self._jobs = dues, hints, queues, jobs
        self._worker, self._pace_seconds, self._verify = worker, pace_seconds, verify
        self._gathered, self._clock, self._is_busy = frozenset(gathered), clock, is_busy
        self._gathered_at: dict[str, float] = {}  # of those still due at the last sweep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Start sweeping in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sweeping and deregister."""
        self._stop.set()
        self._thread.join(timeout=5)
        try:
            self._dues.deregister(self._worker)
        except StoreUnavailableError:
            log.info("store.unavailable", during="goodbye")

    def sweep(self) -> int:
        """Publish hints for due resets; return how many."""
        return sum(self._sweep(queue) for queue in self._queues)

    def _sweep(self, queue: Queue) -> int:
        is_gathered = queue in self._gathered
        if self._hints.waiting(queue) > (MAX_GATHERED_WAITING if is_gathered else MAX_WAITING):
            return 0
        limit = MAX_GATHERED_PER_SHARD if is_gathered else MAX_PER_SHARD
        view = self._dues.look(queue, grace_seconds=GRACE_SECONDS, most=limit)
        if not is_gathered:
            hints = list(_hint_singly(view.resets, queue))
        elif self._is_busy():
            others = [each for each in view.resets if each[1] is not Channel.EMAIL]
            hints = list(_hint_singly(others[: MAX_PER_SHARD * SHARDS], queue))
        else:
            hints = list(_gather(self._not_just_hinted(view.resets), queue))
        for hint in hints:
            self._hints.publish(hint)
        return len(hints)

    def _not_just_hinted(self, resets: Sequence[DueReset]) -> list[DueReset]:
        """Return those without a recent hint: a failed claim costs as much as a successful one."""
        now, before = self._clock(), self._gathered_at
        again = now - GATHERED_AGAIN_SECONDS
        fresh = [each for each in resets if before.get(each[0], again) <= again]
        self._gathered_at = {reset_id: before.get(reset_id, now) for reset_id, _ in resets}
        self._gathered_at.update(dict.fromkeys((reset_id for reset_id, _ in fresh), now))
        return fresh

    def _run(self) -> None:
        while not self._stop.is_set():
            for job in (self._heartbeat, self.sweep, *self._jobs):
                self._run_job(job)
            self._stop.wait(self._pace_seconds)

    def _heartbeat(self) -> None:
        self._verify()
        self._dues.heartbeat(self._worker)

    def _run_job(self, job: PeriodicJob) -> None:
        try:
            job()
        except Exception as error:  # must not end the other jobs
            name = getattr(job, "func", job).__name__
            log.warning("sweep.failed", job=name, exc_info=error)


def _hint_singly(resets: Sequence[DueReset], queue: Queue) -> Iterator[Hint]:
    """Yield one hint per reset."""
    for reset_id, channel in resets:
        yield hint_at(reset_id, channel, queue)


def _gather(resets: Sequence[DueReset], queue: Queue) -> Iterator[Hint]:
    """Yield shared hints for resets by e-mail, and one for each by SMS."""
    by_email = [reset_id for reset_id, channel in resets if channel is Channel.EMAIL]
    for first in range(0, len(by_email), MAX_IN_A_HINT):
        yield hint_at_many(by_email[first : first + MAX_IN_A_HINT], queue)
    others = [each for each in resets if each[1] is not Channel.EMAIL]
    yield from _hint_singly(others[: MAX_PER_SHARD * SHARDS], queue)
