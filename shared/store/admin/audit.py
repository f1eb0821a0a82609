"""Store the audit trail: who changed what, when and why; ids and digests, never addresses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.validation import moment

MAX_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an operator or a caller changed."""

    by: str  # a user of this machine, or `token <id>`
    action: str  # `suppression.lift`, `provider.pause`, …
    target: str  # an id or a digest
    reason: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An act and its time."""

    at: datetime
    act: Act


class AuditStore:
    """Append to the trail and read it; an entry is never changed."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def record(self, act: Act) -> None:
        """Append an act that changes no key of the gate's slot."""
        with store_errors():
            append(self._client, act)

    def newest(self, *, most: int = 100) -> list[AuditEntry]:
        """Return the last acts, newest first."""
        with store_errors():
            found = self._client.xrevrange(keys.AUDIT, count=most)
        return [
            AuditEntry(moment(entry_id.partition("-")[0]), Act(**fields))
            for entry_id, fields in found
        ]


def append(target: Any, act: Act) -> None:
    """Append an act by a client, or in the transaction of what it changes (the gate's slot)."""
    target.xadd(keys.AUDIT, asdict(act), maxlen=MAX_KEPT, approximate=True)
