"""Noting what became of a message although the store is away for a moment: unnoted is doubt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import StoreUnavailableError

STORE_RETRY_SECONDS = 0.25
NoteT = TypeVar("NoteT")


def insist(lease_ends: float, note: Callable[[], NoteT]) -> NoteT:
    """Note something as long as the claim holds: until a moment of the monotonic clock.

    Raises:
        StoreUnavailableError: the store stayed away until then.
    """
    while True:
        try:
            return note()
        except StoreUnavailableError:
            if time.monotonic() + STORE_RETRY_SECONDS > lease_ends:
                raise
            time.sleep(STORE_RETRY_SECONDS)
