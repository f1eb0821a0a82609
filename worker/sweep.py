"""The sweeper inside every worker process: what is due is hinted again, whoever lost the hint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from shared.errors import StoreUnavailableError
from shared.hints import hint_at
from shared.models import Queue
from shared.store.dues import DueStore
from shared.wiring import Hints

log = structlog.get_logger()

GRACE_SECONDS = 0.25  # the first hint of a new reset is on its way
MOST_PER_SHARD = 40
SHORT_LIST = 40  # hints in the broker below which workers are about to be idle
SEEN_EVERY_SECONDS = 1.0
Chore: TypeAlias = Callable[[], object]  # quick: the next sweep waits for it


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
        chores: Sequence[Chore] = (),
    ) -> None:
        """`worker` is how this process is known; `chores` are done at every sweep, after it."""
        self._dues, self._hints, self._queues, self._chores = dues, hints, queues, chores
        self._worker, self._pace_seconds = worker, pace_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep from now on, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sweeping and say goodbye."""
        self._stop.set()
        self._thread.join(timeout=5)
        try:
            self._dues.forget_worker(self._worker)
        except StoreUnavailableError:
            log.info("store.unavailable", during="goodbye")

    def sweep(self) -> int:
        """Hint once at what is due; gives how many hints were published."""
        number = 0
        for queue in self._queues:
            if self._hints.waiting(queue) > SHORT_LIST:
                continue
            view = self._dues.look(queue, grace_seconds=GRACE_SECONDS, most=MOST_PER_SHARD)
            for reset_id, channel in view.resets:
                self._hints.publish(hint_at(reset_id, channel, queue))
            number += len(view.resets)
        return number

    def _run(self) -> None:
        while not self._stop.is_set():
            for chore in (self._say_seen, self.sweep, *self._chores):
                self._do(chore)
            self._stop.wait(self._pace_seconds)

    def _say_seen(self) -> None:
        self._dues.say_seen(self._worker)

    def _do(self, chore: Chore) -> None:
        try:
            chore()
        except Exception as error:  # one that fails must not end the others
            log.warning("sweep.failed", chore=chore.__name__, exc_info=error)
