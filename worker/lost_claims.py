"""Claims whose answer was lost: the reset would wait for a whole lease, and a person with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

log = structlog.get_logger()

MOST_NOTED = 10_000  # beyond, leases end by themselves


class LostClaims:
    """Notes them, and has them given back once Redis answers; threads may share it."""

    def __init__(self, recall: Callable[[str], bool]) -> None:
        """`recall` makes a reset due again, when nobody is at the provider with it."""
        self._recall = recall
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def note(self, reset_ids: Iterable[str]) -> None:
        """Whether these were claimed, nobody knows."""
        with self._lock:
            if len(self._noted) < MOST_NOTED:
                self._noted.update(reset_ids)

    def recall(self) -> int:
        """Give back what was noted; gives how many resets are due again. A sweeper's chore.

        Raises:
            StoreUnavailableError: Redis still does not answer; the rest is tried again.
        """
        recalled = 0
        while reset_id := self._take():
            try:
                recalled += self._recall(reset_id)
            except BaseException:
                self.note([reset_id])
                raise
        if recalled:
            log.info("claims.recalled", number=recalled)
        return recalled

    def _take(self) -> str | None:
        with self._lock:
            return self._noted.pop() if self._noted else None
