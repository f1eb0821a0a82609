"""Hint at what is due, from a thread in every worker process, and run periodic jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from shared.errors import StoreUnavailableError
from shared.models import Channel, Queue
from shared.queue import hint_at, hint_at_many
from shared.store.due_sets import DueStore
from shared.store.keys import SHARDS
from shared.wiring import Hints

log = structlog.get_logger()

GRACE_SECONDS = 0.25  # the first hint of a new reset is on its way
QUIET_LOOKS = 2  # at the due sets, between two rounds that find nothing to do
EXTRA_SWEEPS = 4  # without a broker, between two rounds of the periodic jobs
MAX_PER_SHARD = 10
MAX_WAITING = 40  # hints in the broker; above, workers are busy and a sweep publishes none
# For what is still due so long after its hint, the hint is lost or far behind; each further one
# comes after twice the time. Only this brakes a sweeper whose broker does not tell its depth.
AGAIN_SECONDS = 5.0
MAX_AGAIN_SECONDS = 60.0
# For queues whose resets by e-mail are gathered: a hint names many, so a shard returns more.
MAX_IN_A_HINT = 1000
MAX_GATHERED_PER_SHARD = 63
MAX_GATHERED_WAITING = 2
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
        is_alone: bool = False,
        verify: PeriodicJob = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`worker` is this process's name; `jobs` run after every sweep, `verify` before it.

        A worker whose `verify` fails is not seen. While no job finds anything and nothing waits,
        two of three sweeps are a look at the due sets and no more.

        Resets by e-mail of the `gathered` queues share hints, and get none while `is_busy`; the
        others have one each. Without a broker the sweeper is alone: it sweeps more often, and
        leaves nothing to the hints of others.
        """
        self._dues, self._hints, self._queues, self._jobs = dues, hints, queues, jobs
        self._worker, self._pace_seconds, self._verify = worker, pace_seconds, verify
        self._gathered, self._clock, self._is_busy = frozenset(gathered), clock, is_busy
        self._extra_sweeps, self._quiet_looks, self._grace_seconds = (
            (EXTRA_SWEEPS, 0, 0.0) if is_alone else (0, QUIET_LOOKS, GRACE_SECONDS)
        )
        # Of those still due at the last sweep: when to hint again, and the pause until then.
        self._hinted: dict[Queue, dict[str, tuple[float, float]]] = {}
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
        resets = self._dues.look(queue, grace_seconds=self._grace_seconds, most=limit).resets
        hinted = self._hinted.get(queue, {})
        self._hinted[queue] = {each: hinted[each] for each, _ in resets if each in hinted}
        singly = [each for each in resets if not is_gathered or each[1] is not Channel.EMAIL]
        singly = self._take_fresh(queue, singly[: MAX_PER_SHARD * SHARDS])
        hints = [hint_at(reset_id, channel, queue) for reset_id, channel in singly]
        if is_gathered and not self._is_busy():
            by_email = [each for each in resets if each[1] is Channel.EMAIL]
            ids = [reset_id for reset_id, _ in self._take_fresh(queue, by_email)]
            hints += [
                hint_at_many(ids[first : first + MAX_IN_A_HINT], queue)
                for first in range(0, len(ids), MAX_IN_A_HINT)
            ]
        for hint in hints:
            if self._hints.publish(hint) is False:
                for reset_id in hint.about.split(","):
                    del self._hinted[queue][reset_id]
        return len(hints)

    def _take_fresh(self, queue: Queue, resets: Sequence[DueReset]) -> list[DueReset]:
        """Return those without a recent hint, and note one: a failed claim costs as much as any."""
        now, hinted = self._clock(), self._hinted[queue]
        fresh = [each for each in resets if hinted.get(each[0], (now, 0.0))[0] <= now]
        for reset_id, _ in fresh:
            pause = min(2 * hinted.get(reset_id, (0.0, AGAIN_SECONDS / 2))[1], MAX_AGAIN_SECONDS)
            hinted[reset_id] = (now + pause, pause)
        return fresh

    def _run(self) -> None:
        while not self._stop.is_set():
            found = [self._run_job(job) for job in (self._heartbeat, self.sweep, *self._jobs)]
            pause = self._pace_seconds / (1 + self._extra_sweeps)
            for _ in range(self._extra_sweeps):
                self._stop.wait(pause)
                self._run_job(self.sweep)
            self._stop.wait(pause)
            for _ in range(0 if any(found) else self._quiet_looks):
                if self._stop.is_set() or self._run_job(self._is_needed):
                    break
                self._stop.wait(pause)

    def _is_needed(self) -> bool:
        """Return True unless nothing waits in the queues, and hints get through."""
        self._verify()
        return self._hints.is_failing() or not all(map(self._dues.is_empty, self._queues))

    def _heartbeat(self) -> None:
        self._verify()
        self._dues.heartbeat(self._worker)

    def _run_job(self, job: PeriodicJob) -> bool:
        """Return True if there was something to do, or it failed."""
        try:
            return bool(job())
        except Exception as error:  # must not end the other jobs
            name = getattr(job, "func", job).__name__
            log.warning("sweep.failed", job=name, exc_info=error)
            return True
