"""Count and log an organisation's own sentences that cannot be filled."""

from __future__ import annotations

from contextlib import suppress

import structlog

from shared.errors import StoreUnavailableError
from shared.messages.rendering import NoteUnfilled
from shared.store.admin.statistics import UNFILLED, CounterStore

log = structlog.get_logger()


def count_unfilled(counters: CounterStore) -> NoteUnfilled:
    """Return a function that notes a sentence; `status` and /metrics tell of it."""

    def note(org_id: str, language: str, key: str) -> None:
        log.warning("text.unfilled", organisation=org_id, language=language, key=key)
        with suppress(StoreUnavailableError):  # the message goes out all the same
            counters.add(f"{UNFILLED}{language}:{org_id}")

    return note
