"""Hints that this process follows by itself while the broker carries none.

A broker that is away, frozen or full, or that holds hints which this worker never hears of, costs
the pace of a sweeper and no message. Claims make what is done twice harmless.
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


class ConsumerProbe:
    """What is known of the consumer."""

    def __init__(self) -> None:
        """The consumer has not been connected yet."""
        self.is_open: bool | None = None  # None until the broker is there for the first time
        self.heard_at = monotonic()  # when a task last came by the broker

    def hear(self, **_: Any) -> None:
        """A task came by the broker."""
        self.heard_at = monotonic()


def listen(app: Celery, ears: ConsumerProbe) -> None:
    """Have the workers of this application say what they hear."""

    class Listen(bootsteps.StartStopStep):  # type: ignore[misc]
        """Part of the worker's connection: started once it consumes, each time anew."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, _parent: Any) -> None:
            ears.is_open, ears.heard_at = True, monotonic()

        def stop(self, _parent: Any) -> None:
            ears.is_open = False

    app.steps["consumer"].add(Listen)
    signals.task_prerun.connect(ears.hear, weak=False)


log = structlog.get_logger()

MAX_THREADS = 32
MAX_WAITING = 256  # hints taken at a time, begun or not: the rest is for the next sweep
DEAF_SECONDS = 10.0  # the broker holds hints for so long, and this worker hears of none


class LocalFallback:
    """The hints of a worker process: published, and followed here while nobody would hear."""

    def __init__(
        self,
        hints: Hints,
        follow: Callable[[Hint], object],
        queues: Collection[Queue],
        *,
        ears: ConsumerProbe,
        threads: int = MAX_THREADS,
    ) -> None:
        """`follow` does what a hint's task does; `ears` are those of this process."""
        self._hints, self._follow, self._queues = hints, follow, frozenset(queues)
        self._ears = ears
        self._empty_at: dict[Queue, float] = {}
        self._trouble = ""
        self._threads = ThreadPoolExecutor(min(threads, MAX_THREADS), thread_name_prefix="direct")
        self._taken: set[Hint] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def publish(self, hint: Hint) -> None:
        """Publish it, for the first that gets through ends the trouble; and follow it meanwhile."""
        self._hints.publish(hint)
        if hint.queue in self._queues and (self._trouble or self._hints.is_failing()):
            self._take(hint)

    def is_failing(self) -> bool:
        """True while hints cannot be published."""
        return self._hints.is_failing()

    def is_connected(self) -> bool:
        """True when the broker answers now."""
        return self._hints.is_connected()

    def waiting(self, queue: Queue) -> int:
        """How many hints wait in the broker; none when there is nobody else to follow them."""
        try:
            number = self._hints.waiting(queue)
        except BrokerAwayError:
            self._note_trouble("the broker does not answer")
            return 0
        self._note_trouble(self._what_is_wrong(queue, number))
        return 0 if self._trouble else number

    def _what_is_wrong(self, queue: Queue, number: int) -> str:
        """Why a hint would not be heard of though the broker answers; empty when it would."""
        if not number or queue not in self._empty_at:
            self._empty_at[queue] = monotonic()
        if self._hints.is_failing():
            return "the broker takes no hints"
        if self._ears.is_open is False or (self._trouble and not self._ears.is_open):
            return "this worker is not connected to the broker"
        if monotonic() - max(self._empty_at[queue], self._ears.heard_at) > DEAF_SECONDS:
            return "hints wait in the broker and none arrives"
        return ""

    def close(self) -> None:
        """Finish what has been begun, and pass on what is waiting."""
        self.stop()
        self._threads.shutdown(wait=True)
        self._hints.close()

    def stop(self) -> None:
        """Begin nothing any more."""
        with self._lock:
            self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("broker.away", reason=trouble)
        elif self._trouble and not trouble:
            log.warning("broker.back", after=self._trouble)
        self._trouble = trouble

    def _take(self, hint: Hint) -> None:
        with self._lock:
            if self._is_closed or hint in self._taken or len(self._taken) >= MAX_WAITING:
                return
            self._taken.add(hint)
            self._threads.submit(self._follow_here, hint)

    def _follow_here(self, hint: Hint) -> None:
        try:
            self._follow(hint)
        except Exception as error:  # as Celery does: a task that fails must not end its thread
            log.warning("task.failed", task=hint.task.value, about=hint.about, exc_info=error)
        finally:
            with self._lock:
                self._taken.discard(hint)
