"""What became of every user of a batch, one after the other, however many there are."""

from __future__ import annotations

from collections.abc import Iterator

from shared.models import Status
from shared.store.batch_lists import Entry
from shared.store.batch_records import Batch, BatchState
from web.house import House

Result = dict[str, str | None]


def list_results(house: House, batch: Batch) -> Iterator[list[Result]]:
    """`userId`, `resetId`, `status`, `reason` of the users of each list in turn."""
    for number in range(batch.lists):
        yield _results_of(house, batch, number)


def _results_of(house: House, batch: Batch, number: int) -> list[Result]:
    entries = house.batch_lists.read(batch.list_id, number)
    skips = house.batch_lists.skips(batch.batch_id, number)
    ids = [house.batch_resets.reset_id(entry.user_id, batch.batch_id) for entry in entries]
    ends = house.batch_resets.ends(ids)
    results = []
    for place, (entry, reset_id, end) in enumerate(zip(entries, ids, ends, strict=True)):
        if place in skips:
            results.append(_result(entry, None, "skipped", skips[place]))
        elif (number, place) >= (batch.next_list, batch.next_place):
            results.append(_not_yet(batch, entry))
        elif end is None:
            results.append(_result(entry, reset_id, "forgotten", "older than records are kept"))
        else:
            results.append(_result(entry, reset_id, end[0].value, end[1] or None))
    return results


def _not_yet(batch: Batch, entry: Entry) -> Result:
    if batch.state is BatchState.CANCELLED:
        return _result(entry, None, Status.CANCELLED.value, "batch_cancelled")
    return _result(entry, None, "waiting", None)


def _result(entry: Entry, reset_id: str | None, status: str, reason: str | None) -> Result:
    return {"userId": entry.user_id, "resetId": reset_id, "status": status, "reason": reason}
