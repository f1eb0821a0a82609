"""Organisations as the worker needs them: looked up once for all messages of a moment."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from shared.models import Organisation

REMEMBERED_SECONDS = 2.0  # how late a changed name or language is noticed
MOST_REMEMBERED = 4096


class Organisations:
    """Remembers what was found, and that nothing was. Safe for threads: dict operations alone."""

    def __init__(
        self,
        find: Callable[[str], Organisation | None],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`find` asks the store; `clock` counts seconds."""
        self._find, self._clock = find, clock
        self._known: dict[str, tuple[float, Organisation | None]] = {}

    def find(self, org_id: str) -> Organisation | None:
        """The organisation, or None when it does not exist.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        now = self._clock()
        known = self._known.get(org_id)
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        organisation = self._find(org_id)
        self._known[org_id] = (now, organisation)
        return organisation
