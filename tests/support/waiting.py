"""Waits whose limit is for what hangs: ten times what the slowest takes on a quiet machine."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG_SECONDS = 120.0
SLACK_SECONDS = 5.0  # what a busy machine may add to a time that a test measures


class a_wait:
    """Equal to a wait of `seconds`, give or take `tolerance`, of which a busy machine has used up some."""

    def __init__(self, seconds: float, tolerance: float = 1.0) -> None:
        self.most = seconds + tolerance
        self.least = seconds - tolerance - SLACK_SECONDS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self.least <= other <= self.most

    def __repr__(self) -> str:
        return f"a wait of {self.least:g} to {self.most:g} s"


def wait_until(
    is_true: Callable[[], object], *, seconds: float = HANG_SECONDS, what: str = "what was awaited"
) -> None:
    """Return once it is true; fail if it is not within so many seconds."""
    give_up_at = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up_at, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
