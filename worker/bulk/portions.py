"""Decide how many resets a bulk task claims at once: as many as it can mark within their lease."""

from __future__ import annotations

from threading import Lock

from shared.settings import LEASE_SLACK_SECONDS, Settings

LEAST = 25  # what one run of a script takes: fewer cost as much
MOST = 1000
FIRST = 200  # before anything was measured
WEIGHT = 0.3  # of the newest measurement
SHARE = 0.8  # of the time there is; claims that last too short in spite of it are renewed


class Portions:
    """The size of the next portion, from the pace just measured; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        """The lease and the provider's timeout decide how long claiming and marking may take."""
        lasts = settings.lease_seconds - settings.provider_timeout_seconds - LEASE_SLACK_SECONDS
        self._seconds = lasts * SHARE
        self._each: float | None = None  # seconds for one reset, from the claim to its mark
        self._lock = Lock()

    def size(self) -> int:
        """Return how many resets to claim at once."""
        if self._each is None:
            return FIRST
        return max(LEAST, min(MOST, int(self._seconds / max(self._each, 1e-6))))

    def note(self, number: int, seconds: float) -> None:
        """Note how long a portion took from its claim to its marks."""
        each = seconds / number
        with self._lock:
            before = each if self._each is None else self._each
            self._each = before + WEIGHT * (each - before)
