"""What a run leaves behind to be judged by: the ledger, what was accepted, the final records."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from faults.callers import Accepted
from faults.people import Person

FINAL = {
    *("accepted", "delivered", "undelivered"),
    *("failed", "suppressed", "expired", "cancelled"),
}
WORKER_DIED = "the worker died during the call"
# What stands there after a report told that the provider had the message all the while.
TOLD_LATER = "the provider told by a callback that it has it"


@dataclass(frozen=True, slots=True)
class Line:
    """One message the provider took."""

    at: float
    provider: str
    reset_id: str
    to: str
    code: str
    fault: str
    message_id: str
    id: str = ""  # the provider's own
    callback: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Nothing here was counted by Keyturn itself."""

    lines: Sequence[Line]
    accepted: Sequence[Accepted]
    refused: Sequence[tuple[Person, int, str]]
    records: dict[str, dict[str, str]]  # reset id → its record as Redis has it
    due: frozenset[str]  # ids in the due sets at the end
    may_double: bool = True  # False where nothing was done that could leave an attempt in doubt
    told: frozenset[str] = frozenset()  # Keyturn took note of a report that they were delivered
    codes: dict[str, str] = field(default_factory=dict)  # reset id → the typed code that works
    secrets: frozenset[str] = frozenset()  # of the links that work

    @cached_property
    def owed(self) -> dict[str, Accepted]:
        """Reset id → the call that was told yes."""
        return {each.reset_id: each for each in self.accepted}

    @cached_property
    def copies(self) -> dict[str, list[Line]]:
        """Reset id → the messages the provider took for it."""
        found: defaultdict[str, list[Line]] = defaultdict(list)
        for line in self.lines:
            found[line.reset_id].append(line)
        return dict(found)

    def status(self, reset_id: str) -> str:
        return self.records.get(reset_id, {}).get("st", "gone")

    def is_held(self, reset_id: str) -> bool:
        """In doubt twice: left alone until a callback or the deadline settles it."""
        return self.is_held_record(self.records.get(reset_id, {}))

    def is_told_as_doubt(self, reset_id: str) -> bool:
        """Two attempts ended so that nobody could know: the record says so, now or at its end."""
        record = self.records.get(reset_id, {})
        is_expired = (record.get("st"), record.get("rs")) == ("expired", "in_doubt")
        return self.is_held_record(record) or (is_expired and int(record["db"]) >= 2)

    @staticmethod
    def is_held_record(record: Mapping[str, str]) -> bool:
        return record.get("st") == "unknown" and int(record.get("db", "0")) >= 2

    def attempts(self, reset_id: str) -> list[list[Any]]:
        """provider, started, finished, outcome, message id, detail; as far as it is known."""
        record = self.records.get(reset_id, {})
        return [json.loads(record[f"a{n}"]) for n in range(1, int(record.get("at", "0")) + 1)]

    def deaths(self, reset_id: str) -> int:
        """How many of its attempts ended with their worker, be it that a report told the rest."""
        ends = {WORKER_DIED, TOLD_LATER}
        return sum(bool(ends.intersection(attempt)) for attempt in self.attempts(reset_id))

    def cut_short(self, reset_id: str) -> int:
        """How many of its messages the provider took without saying so."""
        return sum(line.fault in {"cut", "hang"} for line in self.copies.get(reset_id, ()))

    def statuses(self) -> Counter[str]:
        return Counter(self.status(reset_id) for reset_id in self.owed)


def read_ledger(path: Path) -> list[Line]:
    """The lines of the stub's ledger."""
    return [Line(**json.loads(line)) for line in path.read_text().splitlines()]
