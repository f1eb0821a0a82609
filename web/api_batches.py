"""REST of batches: one function per route; the rules stand in web/batches.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
from flask import Blueprint, Response, request

from shared.errors import SelectionError
from shared.models import Queue
from shared.store.batch_lists import Entry
from shared.store.batch_records import Batch, BatchState, Verb
from shared.store.history import Filter
from web.api import answer, asked, credentials, house
from web.batch_changes import change_batch, start_plan
from web.batch_lines import read_entries
from web.batch_progress import read_progress, write_progress
from web.batch_results import Result, list_results
from web.batch_rights import Authority, authority_of, find_theirs, require_organisation
from web.batch_schemas import BATCH, BATCH_REASON, read_filter, read_options, read_user_ids
from web.batches import WantedBatch, make_batch
from web.json_bodies import read_body
from web.requests import read_capped_body, read_pieces
from web.resets import read_channel

api_batches = Blueprint("api_batches", __name__)

UPLOAD_TYPES = ("application/x-ndjson", "text/plain")
ACCEPTED = 202
PLAN_SECONDS = 2.5  # how long an answer waits for the counts of its plan
POLL_SECONDS = 0.05
_waiting = threading.BoundedSemaphore(4)  # requests that wait so; fewer than there are threads


@api_batches.post("/keyturn/v1/batches")
def make_batches() -> Response:
    """Plan a batch, or start one; JSON, or a file of a million lines."""
    authority = authority_of(house(), credentials())
    options = read_options(request.args)
    if request.mimetype in UPLOAD_TYPES:
        return _make(authority, options, read_entries(read_pieces()))
    fields = options | read_body(read_capped_body(), BATCH)
    if fields.get("plan_id") is not None:
        return _start(authority, fields)
    if fields.get("select") is None:
        return _make(authority, fields, iter(read_user_ids(fields["user_ids"])))
    selected = read_filter(fields["select"])
    if selected.org_id is not None:
        require_organisation(house(), credentials(), selected.org_id)
    return _make(authority, fields, selected)


@api_batches.get("/keyturn/v1/batches/<batch_id>")
def show_batch(batch_id: str) -> Response:
    """How a batch stands."""
    authority = authority_of(house(), credentials())
    return _tell(find_theirs(house(), authority, batch_id))


@api_batches.post("/keyturn/v1/batches/<batch_id>/_pause")
def pause_batch(batch_id: str) -> Response:
    """Send nothing more of a batch until it is resumed."""
    return _change(batch_id, Verb.PAUSE)


@api_batches.post("/keyturn/v1/batches/<batch_id>/_resume")
def resume_batch(batch_id: str) -> Response:
    """Go on with a paused batch."""
    return _change(batch_id, Verb.RESUME)


@api_batches.post("/keyturn/v1/batches/<batch_id>/_cancel")
def cancel_batch(batch_id: str) -> Response:
    """End a batch: what was not handed over never will be."""
    return _change(batch_id, Verb.CANCEL)


@api_batches.get("/keyturn/v1/batches/<batch_id>/results")
def show_results(batch_id: str) -> Response:
    """What became of every user of a batch, a line of JSON each."""
    authority = authority_of(house(), credentials())
    results = list_results(house(), find_theirs(house(), authority, batch_id))
    first = next(results, [])  # a store that is away is told, not cut short
    return Response(_lines(first, results), mimetype="application/x-ndjson")


def _lines(first: list[Result], others: Iterator[list[Result]]) -> Iterator[bytes]:
    yield from (orjson.dumps(result) + b"\n" for result in first)
    for results in others:
        yield b"".join(orjson.dumps(result) + b"\n" for result in results)


def _make(
    authority: Authority, fields: dict[str, Any], selection: Filter | Iterator[Entry]
) -> Response:
    is_plan = bool(fields.get("dry_run"))
    wanted = WantedBatch(
        selection=selection,
        channel=read_channel(fields.get("type")),
        rate_per_second=fields.get("rate_per_second") or 0,
        reason=fields.get("reason") or "",
        is_plan=is_plan,
        idempotency_key=asked().idempotency_key,
    )
    batch = make_batch(house(), authority, wanted)
    told = {"batchId": batch.batch_id, "total": batch.total}
    if is_plan:
        progress = write_progress(read_progress(house(), _planned(batch)), house().settings)
        told = {"batchId": batch.batch_id, "planId": batch.batch_id, "total": batch.total} | {
            name: progress[name] for name in ("state", "plan")
        }
    return _accepted(told)


def _start(authority: Authority, fields: dict[str, Any]) -> Response:
    if fields.get("dry_run"):
        raise SelectionError("a plan stands already: start it without dryRun, or read it")
    batch = start_plan(
        house(),
        authority,
        fields["plan_id"],
        rate=fields.get("rate_per_second"),
        reason=fields.get("reason") or "",
    )
    return _accepted({"batchId": batch.batch_id, "total": batch.total})


def _change(batch_id: str, verb: Verb) -> Response:
    authority = authority_of(house(), credentials())
    fields = read_body(read_capped_body(), BATCH_REASON)
    reason = fields.get("reason") or ""
    return _tell(change_batch(house(), authority, batch_id, verb, reason=reason))


def _planned(batch: Batch) -> Batch:
    """The batch once it is planned, or as it is after a moment; only a few may wait for workers."""
    if not house().dues.workers_seen(Queue.BULK) or not _waiting.acquire(blocking=False):
        return batch
    try:
        until = time.monotonic() + PLAN_SECONDS
        while batch.state is BatchState.PLANNING and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            batch = house().batches.find(batch.batch_id) or batch
    finally:
        _waiting.release()
    return batch


def _accepted(told: dict[str, Any]) -> Response:
    response = answer(told)
    response.status_code = ACCEPTED
    return response


def _tell(batch: Batch) -> Response:
    return answer(write_progress(read_progress(house(), batch), house().settings))
