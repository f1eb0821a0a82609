"""Waits whose limit is for what hangs: ten times what the slowest takes on a quiet machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

HANG_SECONDS = 120.0
SLACK_SECONDS = 5.0  # what a busy machine may add to a time that a test measures


def a_wait(seconds: float, tolerance: float = 1.0) -> Any:
    """What equals a wait of so many seconds, of which a busy machine may have used up some."""
    return pytest.approx(seconds - SLACK_SECONDS / 2, abs=tolerance + SLACK_SECONDS / 2)


def wait_until(
    is_true: Callable[[], object], *, seconds: float = HANG_SECONDS, what: str = "what was awaited"
) -> None:
    """Return once it is true; fail if it is not within so many seconds."""
    give_up_at = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up_at, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
