"""REST of batches: one function per route; the rules are in web/batches/service.py."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson
from flask import Blueprint, Response, request

from shared.errors import InvalidRequestError, SelectionError
from shared.models import Queue
from shared.store.batches import Batch, BatchAction, BatchState
from shared.store.batches.lists import ListEntry
from shared.store.history import HistoryFilter
from web.auth import USER_WRITE, Authority
from web.batches.progress import list_batches, list_results, read_progress, write_progress
from web.batches.schemas import (
    BATCH,
    BATCH_REASON,
    PAGE_TOKEN,
    read_filter,
    read_options,
    read_user_ids,
)
from web.batches.service import BatchRequest, change_batch, make_batch, start_plan
from web.batches.uploads import read_entries
from web.explain.query import MAX_ON_A_PAGE, check_names, read_count
from web.http import count_changes, credentials, current_services, json_response, request_context
from web.middleware import read_capped_body, read_list
from web.resets import read_channel
from web.schemas import read_body

api_batches = Blueprint("api_batches", __name__)
api_batches.before_request(count_changes)

UPLOAD_TYPES = ("application/x-ndjson", "text/plain")
ACCEPTED = 202
PLAN_SECONDS = 2.5  # how long a response waits for the counts of its plan
POLL_SECONDS = 0.05
_waiting = threading.BoundedSemaphore(4)  # requests that wait for a plan; fewer than threads


@api_batches.post("/keyturn/v1/batches")
def make_batches() -> Response:
    """Plan a batch, or start one; JSON, or a file of a million lines."""
    authority = current_services().auth.authorize_batches(credentials())
    options = read_options(request.args)
    if request.mimetype in UPLOAD_TYPES:
        return _make(authority, options, read_entries(read_list()))
    fields = options | read_body(read_capped_body(), BATCH)
    if fields.get("plan_id") is not None:
        return _start(authority, fields)
    if fields.get("select") is None:
        return _make(authority, fields, iter(read_user_ids(fields["user_ids"])))
    selected = read_filter(fields["select"])
    if selected.org_id is not None:
        auth = current_services().auth
        auth.authorize_in(auth.authenticate(credentials()), selected.org_id, USER_WRITE)
    return _make(authority, fields, selected)


@api_batches.get("/keyturn/v1/batches")
def list_all() -> Response:
    """List the batches that the caller may see, newest first."""
    services, query = current_services(), request.args
    authority = services.auth.authorize_batches(credentials())
    check_names(query.keys(), "limit", "pageToken")
    after = query.get("pageToken")
    if after is not None and not re.fullmatch(PAGE_TOKEN, after):
        raise InvalidRequestError("pageToken must be a nextPageToken of an earlier answer")
    most = read_count(query.get("limit"), "limit", default=50, most=MAX_ON_A_PAGE)
    found, after = list_batches(services, authority, after=after, most=most)
    rows = [write_progress(each, services.settings) for each in found]
    return json_response({"batches": rows, "nextPageToken": after})


@api_batches.get("/keyturn/v1/batches/<batch_id>")
def show_batch(batch_id: str) -> Response:
    """Return how a batch stands."""
    authority = current_services().auth.authorize_batches(credentials())
    return json_response(_write(authority.authorize(current_services().batches.find(batch_id))))


@api_batches.post("/keyturn/v1/batches/<batch_id>/_pause")
def pause_batch(batch_id: str) -> Response:
    """Send nothing more of a batch until it is resumed."""
    return _change(batch_id, BatchAction.PAUSE)


@api_batches.post("/keyturn/v1/batches/<batch_id>/_resume")
def resume_batch(batch_id: str) -> Response:
    """Go on with a paused batch."""
    return _change(batch_id, BatchAction.RESUME)


@api_batches.post("/keyturn/v1/batches/<batch_id>/_cancel")
def cancel_batch(batch_id: str) -> Response:
    """End a batch; what was not handed over to a provider never will be."""
    return _change(batch_id, BatchAction.CANCEL)


@api_batches.get("/keyturn/v1/batches/<batch_id>/results")
def show_results(batch_id: str) -> Response:
    """Return the result of every user of a batch, a line of JSON each."""
    authority = current_services().auth.authorize_batches(credentials())
    results = list_results(
        current_services(), authority.authorize(current_services().batches.find(batch_id))
    )
    first = next(results, [])  # so that a store that is away gives an error, not a cut response
    lines = (
        b"".join(orjson.dumps(result) + b"\n" for result in group)
        for group in chain([first], results)
    )
    return Response(lines, mimetype="application/x-ndjson")


def _make(
    authority: Authority, fields: dict[str, Any], selection: HistoryFilter | Iterator[ListEntry]
) -> Response:
    is_plan = bool(fields.get("dry_run"))
    batch_request = BatchRequest(
        selection=selection,
        channel=read_channel(fields.get("type")),
        rate_per_second=fields.get("rate_per_second") or 0,
        reason=fields.get("reason") or "",
        is_plan=is_plan,
        idempotency_key=request_context().idempotency_key,
    )
    batch = make_batch(current_services(), authority, batch_request)
    body = {"batchId": batch.batch_id, "total": batch.total}
    if is_plan:
        progress = _write(_wait_for_plan(batch))
        body |= {"planId": batch.batch_id, "state": progress["state"], "plan": progress["plan"]}
    return _accepted(body)


def _start(authority: Authority, fields: dict[str, Any]) -> Response:
    if fields.get("dry_run"):
        raise SelectionError("a plan stands already: start it without dryRun, or read it")
    batch = start_plan(
        current_services(),
        authority,
        fields["plan_id"],
        rate=fields.get("rate_per_second"),
        reason=fields.get("reason") or "",
    )
    return _accepted({"batchId": batch.batch_id, "total": batch.total})


def _change(batch_id: str, action: BatchAction) -> Response:
    authority = current_services().auth.authorize_batches(credentials())
    fields = read_body(read_capped_body(), BATCH_REASON)
    reason = fields.get("reason") or ""
    batch = change_batch(current_services(), authority, batch_id, action, reason=reason)
    return json_response(_write(batch))


def _wait_for_plan(batch: Batch) -> Batch:
    """Return the batch once it is planned, or as it is after a moment; only a few may wait."""
    if not current_services().dues.workers_seen(Queue.BULK) or not _waiting.acquire(blocking=False):
        return batch
    try:
        until = time.monotonic() + PLAN_SECONDS
        while batch.state is BatchState.PLANNING and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            batch = current_services().batches.find(batch.batch_id) or batch
    finally:
        _waiting.release()
    return batch


def _accepted(body: dict[str, Any]) -> Response:
    response = json_response(body)
    response.status_code = ACCEPTED
    return response


def _write(batch: Batch) -> dict[str, Any]:
    services = current_services()
    return write_progress(read_progress(services, batch), services.settings)
