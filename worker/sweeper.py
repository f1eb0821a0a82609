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
MAX_PER_SHARD = 40
SHORT_LIST = 40  # hints in the broker below which workers are about to be idle
# The same where resets by e-mail are gathered: a hint names many, a shard gives more at a time.
MAX_IN_A_HINT = 1000
MAX_GATHERED_PER_SHARD = 250
SHORT_GATHERED_LIST = 2
GATHERED_AGAIN_SECONDS = 5.0  # a reset that still waits then: its hint is lost, or far behind
DueReset: TypeAlias = tuple[str, Channel]
PeriodicJob: TypeAlias = Callable[[], object]  # quick: the next sweep waits for it


class Sweeper:
    """Publishes hints for what is due; many sweepers are harmless, for a claim is made once."""

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`worker` is this process's name; `jobs` run after every sweep.

        Resets by e-mail of the `gathered` queues are hinted at together, the others one by one.
        """
        self._dues, self._hints, self._queues, self._jobs = dues, hints, queues, jobs
        self._worker, self._pace_seconds = worker, pace_seconds
        self._gathered, self._clock = frozenset(gathered), clock
        self._gathered_at: dict[str, float] = {}  # of those still due at the last look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep from now on, in a thread of its own."""
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
        """Hint once at what is due; return how many hints were published."""
        return sum(self._sweep(queue) for queue in self._queues)

    def _sweep(self, queue: Queue) -> int:
        is_gathered = queue in self._gathered
        if self._hints.waiting(queue) > (SHORT_GATHERED_LIST if is_gathered else SHORT_LIST):
            return 0
        most = MAX_GATHERED_PER_SHARD if is_gathered else MAX_PER_SHARD
        view = self._dues.look(queue, grace_seconds=GRACE_SECONDS, most=most)
        if is_gathered:
            hints = list(_gather(self._not_just_hinted(view.resets), queue))
        else:
            hints = list(_hint_singly(view.resets, queue))
        for hint in hints:
            self._hints.publish(hint)
        return len(hints)

    def _not_just_hinted(self, resets: Sequence[DueReset]) -> list[DueReset]:
        """Return those without a recent hint: a claim in vain costs as much as a won one."""
        now, before = self._clock(), self._gathered_at
        again = now - GATHERED_AGAIN_SECONDS
        fresh = [each for each in resets if before.get(each[0], again) <= again]
        self._gathered_at = {reset_id: before.get(reset_id, now) for reset_id, _ in resets}
        self._gathered_at.update(dict.fromkeys((reset_id for reset_id, _ in fresh), now))
        return fresh

    def _run(self) -> None:
        while not self._stop.is_set():
            for job in (self._heartbeat, self.sweep, *self._jobs):
                self._do(job)
            self._stop.wait(self._pace_seconds)

    def _heartbeat(self) -> None:
        self._dues.heartbeat(self._worker)

    def _do(self, job: PeriodicJob) -> None:
        try:
            job()
        except Exception as error:  # one that fails must not end the others
            log.warning("sweep.failed", job=job.__name__, exc_info=error)


def _hint_singly(resets: Sequence[DueReset], queue: Queue) -> Iterator[Hint]:
    """Yield a hint at each."""
    for reset_id, channel in resets:
        yield hint_at(reset_id, channel, queue)


def _gather(resets: Sequence[DueReset], queue: Queue) -> Iterator[Hint]:
    """Yield few hints at all by e-mail, one at each by SMS."""
    by_email = [reset_id for reset_id, channel in resets if channel is Channel.EMAIL]
    for first in range(0, len(by_email), MAX_IN_A_HINT):
        yield hint_at_many(by_email[first : first + MAX_IN_A_HINT], queue)
    others = [each for each in resets if each[1] is not Channel.EMAIL]
    yield from _hint_singly(others[: MAX_PER_SHARD * SHARDS], queue)
