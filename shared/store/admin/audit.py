"""The audit trail: who changed what by hand, when and why; ids and digests, never addresses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.records import moment

MAX_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something somebody did."""

    by: str  # a person on this machine, or `token <id>`
    action: str  # `suppression.lift`, `provider.pause`, …
    target: str  # an id or a digest
    reason: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An act, and when it was."""

    at: datetime
    act: Act


class AuditStore:
    """Appends and reads; nothing here is ever changed."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def record(self, act: Act) -> None:
        """Note an act that no other key of the gate's slot changes with."""
        with store_errors():
            append(self._client, act)

    def newest(self, *, most: int = 100) -> list[AuditEntry]:
        """The last acts, newest first."""
        with store_errors():
            found = self._client.xrevrange(keys.AUDIT, count=most)
        return [
            AuditEntry(moment(entry_id.partition("-")[0]), Act(**facts))
            for entry_id, facts in found
        ]


def append(target: Any, act: Act) -> None:
    """Note an act by a client, or in the transaction of what it changes (the gate's slot)."""
    facts = {"by": act.by, "action": act.action, "target": act.target, "reason": act.reason}
    target.xadd(keys.AUDIT, facts, maxlen=MAX_KEPT, approximate=True)
