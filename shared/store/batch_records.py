"""A batch as Redis keeps it: a hash in, a Batch out, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.models import Channel
from shared.store.records import moment


class BatchState(StrEnum):
    """Where a batch stands."""

    PLANNING = "planning"  # its users are looked up; nothing is sent
    PLANNED = "planned"  # counted, waiting for its start
    RUNNING = "running"
    PAUSED = "paused"  # nothing of it is sent; may be resumed
    CANCELLED = "cancelled"  # what was not handed over never will be
    FINISHED = "finished"  # every reset of it has ended


class Verb(StrEnum):
    """What people do to a batch."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What is to be begun."""

    batch_id: str
    mark: str  # equal for those who ask for the same
    state: BatchState  # PLANNING or RUNNING
    channel: Channel
    reason: str
    by: str
    caller_id: str
    org_ids: frozenset[str] | None  # whose users may be written to; None: everybody's
    list_id: str
    lists: int
    total: int
    rate_per_second: float
    lifetime_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it stands; counts of resets that ended stand apart."""

    batch_id: str
    state: BatchState
    channel: Channel
    reason: str
    by: str
    caller_id: str
    org_ids: frozenset[str] | None
    list_id: str
    lists: int
    total: int
    rate_per_second: float
    lifetime_seconds: float
    mark: str
    created_at: datetime
    started_at: datetime | None
    changed_at: datetime | None  # started, paused, resumed or cancelled last
    finished_at: datetime | None
    next_list: int  # where the next user stands
    next_place: int
    recorded: int  # resets that stand in Redis
    skipped: Mapping[str, int]  # by reason
    plan: Mapping[str, int]  # what planning counted, by name; empty when it was not planned

    @property
    def is_fed(self) -> bool:
        """True when every user of it was looked at."""
        return self.next_list >= self.lists


@dataclass(frozen=True, slots=True)
class Place:
    """A user's place in the lists of a batch."""

    list_number: int
    place: int


def batch_as_hash(new: NewBatch) -> dict[str, str | int | float]:
    """The fields a batch begins with."""
    return {
        "st": new.state.value,
        "ch": new.channel.value,
        "cid": new.caller_id,
        "sc": "*" if new.org_ids is None else orjson.dumps(sorted(new.org_ids)).decode(),
        "li": new.list_id,
        "nl": new.lists,
        "nt": new.total,
        "rt": new.rate_per_second,
    }


def batch_from_hash(batch_id: str, h: Mapping[str, str]) -> Batch:
    """A batch as it was stored."""
    return Batch(
        batch_id=batch_id,
        state=BatchState(h["st"]),
        channel=Channel(h["ch"]),
        reason=h["rs"],
        by=h["by"],
        caller_id=h["cid"],
        org_ids=None if h["sc"] == "*" else frozenset(orjson.loads(h["sc"])),
        list_id=h["li"],
        lists=int(h["nl"]),
        total=int(h["nt"]),
        rate_per_second=float(h["rt"]),
        lifetime_seconds=int(h["lf"]) / 1000,
        mark=h["mk"],
        created_at=moment(h["c"]),
        started_at=moment(h["s"]) if "s" in h else None,
        changed_at=moment(h["ca"]) if "ca" in h else None,
        finished_at=moment(h["e"]) if "e" in h else None,
        next_list=int(h["cu"]),
        next_place=int(h["co"]),
        recorded=int(h["q"]),
        skipped={name[2:]: int(number) for name, number in h.items() if name.startswith("k:")},
        plan={name[2:]: int(number) for name, number in h.items() if name.startswith("p:")},
    )
