"""Answers at one pace: how long a refusal takes tells nothing about who was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import TypeVar

from shared.errors import CallerError, TooManyRequestsError

Answer = TypeVar("Answer")

PACE_LIMIT = "pages"  # the limit's name where every place is taken
LEAST_SECONDS = 0.25  # well above what the slowest of the evened paths takes on a busy machine


class Pace:
    """Stretches what is done to a fixed least time, for a bounded number of requests at once.

    A place is taken before anything is looked up, so that being turned away tells nothing either.
    """

    def __init__(self, *, places: int, least_seconds: float = LEAST_SECONDS) -> None:
        """`places`: how many requests may wait here; the other threads stay free."""
        self._places = BoundedSemaphore(places)
        self._least_seconds = least_seconds

    def even(self, act: Callable[[], Answer]) -> Answer:
        """What `act` gives or raises, never sooner than the least time.

        Raises:
            TooManyRequestsError: every place is taken; nothing was done.
        """
        began = self._enter()
        try:
            return act()
        finally:
            self._leave(began)

    def even_refusals(self, act: Callable[[], Answer]) -> Answer:
        """As `even`, but what `act` gives is given at once: only its refusals are alike."""
        began = self._enter()
        try:
            answer = act()
        except CallerError:
            self._leave(began)
            raise
        except BaseException:
            self._places.release()
            raise
        self._places.release()
        return answer

    def _enter(self) -> float:
        if not self._places.acquire(blocking=False):
            raise TooManyRequestsError(PACE_LIMIT, retry_after_seconds=1)
        return time.monotonic()

    def _leave(self, began: float) -> None:
        time.sleep(max(0.0, began + self._least_seconds - time.monotonic()))
        self._places.release()
