"""Describe the progress of a batch, in figures and in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.models import Channel, Status
from shared.settings import Settings
from shared.store.batches import Batch, BatchState
from shared.store.batches.lists import ListEntry
from shared.validation import format_timestamp
from web.auth import Authority
from web.resets import CHANNELS_BY_NAME
from web.services import WebServices

NO_FAILURES = (Status.ACCEPTED, Status.DELIVERED, Status.CANCELLED)
MICROS = 1_000_000
MAX_SCANNED = 200  # batches read for a page of a list
TYPES = {channel: name for name, channel in CHANNELS_BY_NAME.items()}
Result = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch, and how its resets ended so far."""

    batch: Batch
    ends: Counter[tuple[Status, str]]

    @property
    def state(self) -> BatchState:
        """Finished as soon as every reset has ended, though no worker has recorded it yet."""
        batch = self.batch
        is_over = batch.state is BatchState.RUNNING and batch.is_fed and self.open == 0
        return BatchState.FINISHED if is_over else batch.state

    @property
    def open(self) -> int:
        """Resets that stand in Redis and have not ended."""
        return max(0, self.batch.recorded - sum(self.ends.values()))

    @property
    def waiting(self) -> int:
        """Users who were not looked up yet; none of a cancelled batch."""
        return 0 if self.batch.state is BatchState.CANCELLED else self._left

    @property
    def _left(self) -> int:
        return self.batch.total - (self.batch.looked_up if self.batch.started_at else 0)

    @property
    def cancelled(self) -> int:
        """Users whose reset was cancelled, or never made because the batch was cancelled."""
        is_cancelled = self.batch.state is BatchState.CANCELLED
        return self.count(Status.CANCELLED) + (self._left if is_cancelled else 0)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; a cancelled batch when it was cancelled, once nothing of it is open."""
        if self.batch.state is BatchState.CANCELLED:
            return None if self.open else self.batch.changed_at
        return self.batch.finished_at

    @property
    def done(self) -> int:
        """Users whose reset has ended, or who get none."""
        return self.batch.total - self.waiting - self.open

    def count(self, *statuses: Status) -> int:
        """Return how many ended in one of these."""
        return sum(number for (status, _), number in self.ends.items() if status in statuses)

    @property
    def failures(self) -> dict[str, int]:
        """Failures by reason, the most frequent first."""
        found: Counter[str] = Counter()
        for (status, reason), number in self.ends.items():
            if status not in NO_FAILURES:
                found[f"{status}: {reason}" if reason else status.value] += number
        return dict(found.most_common())

    @property
    def sentence(self) -> str:
        """Return its progress as a sentence."""
        sentence = self.state.value
        if self.state in (BatchState.RUNNING, BatchState.PAUSED):
            sentence += f", {self.done:,} of {self.batch.total:,} done"
        elif self.state is BatchState.CANCELLED and self.open:
            sentence += f", {self.open:,} still to be taken back"
        if failed := sum(self.failures.values()):
            names = ", ".join(f"{number} {name}" for name, number in self.failures.items())
            sentence += f" with {failed:,} {'failure' if failed == 1 else 'failures'}: {names}"
        return sentence


def read_progress(services: WebServices, batch: Batch) -> Progress:
    """Return how a batch stands now."""
    return Progress(batch, services.batches.ends(batch.batch_id))


def read_each(services: WebServices, batches: Sequence[Batch]) -> list[Progress]:
    """Return what `read_progress` returns for each; one round trip."""
    ends = services.batches.ends_of_each([each.batch_id for each in batches])
    return list(map(Progress, batches, ends))


def list_batches(
    services: WebServices, authority: Authority, *, after: str | None, most: int
) -> tuple[list[Progress], str | None]:
    """Return batches behind `after`, newest first, and behind which one there may be more."""
    ids = services.batches.older_than(after, MAX_SCANNED)
    found = list(filter(authority.may_see, services.batches.find_many(ids)))
    page, last = found[:most], ids[-1] if len(ids) == MAX_SCANNED else None
    return read_each(services, page), page[-1].batch_id if len(found) > most else last


def write_progress(progress: Progress, settings: Settings) -> dict[str, Any]:
    """Return a batch as JSON."""
    batch = progress.batch
    return {
        "batchId": batch.batch_id,
        "state": progress.state.value,
        "sentence": progress.sentence,
        "type": TYPES[batch.channel],
        "reason": batch.reason,
        "by": batch.by,
        "ratePerSecond": batch.rate_per_second,
        "createdAt": format_timestamp(batch.created_at),
        "startedAt": format_timestamp(batch.started_at),
        "finishedAt": format_timestamp(progress.finished_at),
        "total": batch.total,
        "waiting": progress.waiting,
        "queued": progress.open,
        "accepted": progress.count(Status.ACCEPTED),
        "delivered": progress.count(Status.DELIVERED),
        "failed": sum(progress.failures.values()),
        "failures": progress.failures,
        "cancelled": progress.cancelled,
        "skipped": sum(batch.skipped.values()),
        "skips": dict(sorted(batch.skipped.items())),
        "plan": write_plan(batch, settings),
    }


def write_plan(batch: Batch, settings: Settings) -> dict[str, Any] | None:
    """Return what planning counted; None if the batch was not planned, or not to its end yet."""
    if not batch.plan or batch.state is BatchState.PLANNING:
        return None
    plan: dict[str, Any] = {
        "total": batch.total,
        "send": batch.plan.get("send", 0),
        "organisations": _named(batch, "org:"),
        "languages": _named(batch, "language:"),
        "channels": {batch.channel.value: batch.plan.get("send", 0)},
        "skipped": sum(_named(batch, "skip:").values()),
        "skips": _named(batch, "skip:"),
    }
    if batch.channel is Channel.SMS:
        plan["sms"] = {
            "segments": batch.plan.get("segments", 0),
            "countries": _named(batch, "country:"),
            "cost": round(batch.plan.get("cost", 0) / MICROS, 6),
            "currency": settings.sms_currency,
            "unpriced": batch.plan.get("unpriced", 0),
        }
    return plan


def _named(batch: Batch, prefix: str) -> dict[str, int]:
    """Return the counts of a plan whose name begins so."""
    return {
        name.removeprefix(prefix): number
        for name, number in sorted(batch.plan.items())
        if name.startswith(prefix)
    }


def list_results(services: WebServices, batch: Batch) -> Iterator[list[Result]]:
    """Yield `userId`, `resetId`, `status` and `reason` of the users of each list in turn."""
    for number in range(batch.lists):
        yield _results_of(services, batch, number)


def _results_of(services: WebServices, batch: Batch, number: int) -> list[Result]:
    entries = services.batch_lists.read(batch.list_id, number)
    skips = services.batch_lists.skips(batch.batch_id, number)
    ids = [services.batch_resets.reset_id(entry.user_id, batch.batch_id) for entry in entries]
    ends = services.batch_resets.ends(ids)
    is_cancelled = batch.state is BatchState.CANCELLED
    results = []
    for index, (entry, reset_id, end) in enumerate(zip(entries, ids, ends, strict=True)):
        if not entry.user_id:
            results.append(_result(entry, None, "erased", "user_gone"))
        elif index in skips:
            results.append(_result(entry, None, "skipped", skips[index]))
        elif (number, index) >= batch.next_user and is_cancelled:
            results.append(_result(entry, None, Status.CANCELLED.value, "batch_cancelled"))
        elif (number, index) >= batch.next_user:
            results.append(_result(entry, None, "waiting", None))
        elif end is None:
            results.append(_result(entry, reset_id, "forgotten", "older than records are kept"))
        else:
            results.append(_result(entry, reset_id, end[0].value, end[1] or None))
    return results


def _result(entry: ListEntry, reset_id: str | None, status: str, reason: str | None) -> Result:
    return {"userId": entry.user_id, "resetId": reset_id, "status": status, "reason": reason}
