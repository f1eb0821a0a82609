"""Run the tasks of hints in this process while the broker delivers none.

A broker that is away, frozen or full, or that holds hints which never reach this worker, costs the
pace of a sweeper and no message. Claims make it harmless to do the same twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import structlog
from celery import Celery, bootsteps, signals

from shared.errors import BrokerAwayError
from shared.models import Queue
from shared.queue import Hint
from shared.wiring import Hints
from worker.webhooks import SubscriberRefusedError

log = structlog.get_logger()

MAX_THREADS = 32
MAX_WAITING = 256  # hints held at a time, begun or not; the next sweep brings the rest
SILENT_SECONDS = 10.0  # in which the broker has hints and none reaches this worker


class ConsumerProbe:
    """Track whether this worker's consumer is connected, and when it last got a task."""

    def __init__(self) -> None:
        """Start before the consumer is connected."""
        self.is_connected: bool | None = None  # None until the first connection
        self.last_task_at = monotonic()

    def watch(self, app: Celery) -> None:
        """Follow the consumer of the worker that runs this application."""
        probe = self

        class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
            """A step of the worker's consumer: started with each new connection."""

            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, _parent: Any) -> None:
                probe.is_connected, probe.last_task_at = True, monotonic()

            def stop(self, _parent: Any) -> None:
                probe.is_connected = False

        app.steps["consumer"].add(Watch)
        signals.task_prerun.connect(self.note_task, weak=False)

    def note_task(self, **_: Any) -> None:
        """Note that the broker delivered a task."""
        self.last_task_at = monotonic()


class LocalFallback:
    """Publishes the hints of a worker process, and runs them here while the broker fails."""

    def __init__(
        self,
        hints: Hints,
        run: Callable[[Hint], object],
        queues: Collection[Queue],
        *,
        probe: ConsumerProbe,
        threads: int = MAX_THREADS,
        is_alone: bool = False,
    ) -> None:
        """`run` runs a hint's task; `queues` are those that this process serves.

        Without a broker the process is alone, and that is no trouble.
        """
        self._hints, self._run, self._queues = hints, run, frozenset(queues)
        self._probe, self._is_alone = probe, is_alone
        self._empty_at: dict[Queue, float] = {}
        self._trouble = ""
        self._threads = ThreadPoolExecutor(
            threads if is_alone else min(threads, MAX_THREADS), thread_name_prefix="local"
        )
        self._taken: dict[Hint, bool] = {}  # whether it has begun
        self._lock = threading.Lock()
        self._is_closed = False

    def publish(self, hint: Hint) -> bool:
        """Publish a hint, and also run it here while the broker fails; False if it is lost."""
        is_lost = self._hints.publish(hint) is False
        if hint.queue in self._queues and (
            self._is_alone or self._trouble or self._hints.is_failing()
        ):
            return self._take(hint)
        return not is_lost

    def call(self, _hint: Hint) -> None:
        """Return None: a hint may have to be run here."""

    def is_failing(self) -> bool:
        """Return True while hints cannot be published, or do not arrive."""
        return bool(self._trouble) or self._hints.is_failing()

    def is_connected(self) -> bool:
        """Return True if the broker answers now."""
        return self._hints.is_connected()

    def waiting(self, queue: Queue) -> int:
        """Return how many hints wait in the broker; here, while they run here."""
        if self._is_alone:
            return self._count_waiting(queue)
        try:
            count = self._hints.waiting(queue)
        except BrokerAwayError:
            self._note_trouble("the broker does not answer")
            return self._count_waiting(queue)
        self._note_trouble(self._find_trouble(queue, count))
        return self._count_waiting(queue) if self._trouble else count

    def close(self) -> None:
        """Finish the running tasks, and publish the waiting hints."""
        self.stop()
        self._threads.shutdown(wait=True)
        self._hints.close()

    def stop(self) -> None:
        """Start no further task."""
        with self._lock:
            self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _count_waiting(self, queue: Queue) -> int:
        with self._lock:
            return sum(hint.queue is queue and not begun for hint, begun in self._taken.items())

    def _find_trouble(self, queue: Queue, count: int) -> str:
        """Return why hints do not reach this worker although the broker answers; empty if they do.

        A consumer that was never connected counts only after other trouble.
        """
        if not count or queue not in self._empty_at:
            self._empty_at[queue] = monotonic()
        if self._hints.is_failing():
            return "the broker accepts no hints"
        is_connected = self._probe.is_connected
        if is_connected is False or (self._trouble and not is_connected):
            return "this worker is not connected to the broker"
        if monotonic() - max(self._empty_at[queue], self._probe.last_task_at) > SILENT_SECONDS:
            return "hints wait in the broker and none arrives"
        return ""

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("broker.away", reason=trouble)
        elif self._trouble and not trouble:
            log.warning("broker.back", after=self._trouble)
        self._trouble = trouble

    def _take(self, hint: Hint) -> bool:
        with self._lock:
            if hint in self._taken:
                return True
            if self._is_closed or len(self._taken) >= MAX_WAITING:
                return False
            self._taken[hint] = False
            self._threads.submit(self._run_here, hint)
            return True

    def _run_here(self, hint: Hint) -> None:
        with self._lock:
            self._taken[hint] = True
        try:
            self._run(hint)
        except SubscriberRefusedError:  # logged where it happened
            pass
        except Exception as error:  # as in Celery, a failed task does not end its thread
            log.warning("task.failed", task=hint.task.value, about=hint.about, exc_info=error)
        finally:
            with self._lock:
                del self._taken[hint]
