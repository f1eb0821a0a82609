"""Batches: plan by a file or a filter, start, watch, pause, resume, cancel, results."""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from io import StringIO
from itertools import chain

import orjson
from flask import Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from shared import errors
from shared.store.batches import BatchAction, BatchState
from shared.store.history import HistoryFilter
from web.auth import USER_WRITE, Authority
from web.batches import progress as progresses
from web.batches import schemas, service, uploads
from web.console.frame import Question, ask, caller_here, console, go, read_form, show, why
from web.http import SAFE_METHODS, current_services
from web.middleware import CHUNK_BYTES, read_list
from web.problems import describe
from web.resets import CHANNELS_BY_NAME, read_channel
from web.schemas import read_body

ON_A_PAGE = 20
LOOKS, LOOK_SECONDS = 8, 15.0  # how many earlier looks a page hands on, and how old they may be
LOOK = re.compile(r"(\d{1,12}\.\d):(\d{1,9})")
COLUMNS = ("userId", "resetId", "status", "reason")
FORMULA = ("=", "+", "-", "@")  # what spreadsheets would compute
SELECT = schemas.SelectSchema()
TEXTS = {  # a button, and what it will do
    BatchAction.START: ("Start", "Every user of the plan gets a new code."),
    BatchAction.PAUSE: ("Pause", "Nothing more of it is sent until it is resumed; codes run on."),
    BatchAction.RESUME: ("Resume", "It goes on where it stood."),
    BatchAction.CANCEL: ("Cancel", "What no provider has yet is never sent."),
}


@console.get("/console/batches")
def list_all_batches() -> Response:
    """List the batches, newest first."""
    services, after = current_services(), request.args.get("after")
    found, after = progresses.list_batches(services, _authority(), after=after, most=ON_A_PAGE)
    return show("batches.html", batches=found, after=after)


@console.route("/console/batches/upload", methods=["GET", "POST"])
def plan_upload() -> Response:
    """Plan a batch for the users of a file."""
    authority = _authority()
    if request.method in SAFE_METHODS:
        return _show_new("upload", {})
    read_list()  # raises unless all of it is here
    with request:  # so that its files are closed
        try:
            file, filled = request.files.get("file"), request.form.to_dict()
        except RequestEntityTooLarge as error:
            raise errors.BodyTooLargeError from error
        if file is None or not file.filename:
            return _show_new("upload", filled, errors.SelectionError("choose a file"))
        bad: list[str] = []
        pieces = iter(partial(file.stream.read, CHUNK_BYTES), b"")
        is_csv = file.filename.lower().endswith(".csv")
        entries = uploads.read_entries(pieces, is_csv=is_csv, errors=bad)
        return _plan(authority, "upload", filled, entries, bad)


@console.route("/console/batches/filter", methods=["GET", "POST"])
def plan_filter() -> Response:
    """Plan a batch for the users of past resets."""
    authority = _authority()
    if request.method in SAFE_METHODS:
        return _show_new("filter", request.args.to_dict())
    filled = read_form()
    try:
        selected = _read_filter(filled)
    except errors.InvalidRequestError as error:
        return _show_new("filter", filled, error)
    if selected.org_id:
        current_services().auth.authorize_in(caller_here(), selected.org_id, USER_WRITE)
    return _plan(authority, "filter", filled, selected)


@console.get("/console/batches/<batch_id>")
def show_batch(batch_id: str) -> Response:
    """Show how a batch stands; the bar renews itself until it has ended."""
    services = current_services()
    batch = _authority().authorize(services.batches.find(batch_id))
    progress = progresses.read_progress(services, batch)
    rate, looks = _measure(progress, request.args.get("looks", ""))
    told = progresses.write_progress(progress, services.settings)
    return show("batch.html", batch=told, standing=progress, rate=rate, looks=looks)


@console.route("/console/batches/<batch_id>/<action>", methods=["GET", "POST"])
def change(batch_id: str, action: str) -> Response:
    """Start, pause, resume or cancel a batch."""
    services, authority = current_services(), _authority()
    if action not in list(BatchAction):
        raise errors.NotFoundError
    what = BatchAction(action)
    batch = authority.authorize(services.batches.find(batch_id))

    def act(filled: Mapping[str, str]) -> str:
        reason = why(filled).reason
        if what is BatchAction.START:
            service.start_plan(services, authority, batch_id, rate=None, reason=reason)
        else:
            service.change_batch(services, authority, batch_id, what, reason=reason)
        return f"The batch is {service.PAST[what]}."

    button, text = TEXTS[what]
    title = f"{button} the batch of {batch.total:,}"
    is_grave = what is BatchAction.CANCEL
    return ask(Question(title, text, button, f"/batches/{batch_id}", is_grave=is_grave), act)


@console.get("/console/batches/<batch_id>/results.csv")
def download_results(batch_id: str) -> Response:
    """Return the result of every user as CSV."""
    services = current_services()
    found = progresses.list_results(
        services, _authority().authorize(services.batches.find(batch_id))
    )
    first: list[progresses.Result] = [{name: name for name in COLUMNS}]
    first += next(found, [])  # so that a store that is away gives an error, not a cut file
    pieces = map(_write_csv, chain([first], found))
    headers = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"'}
    return Response(pieces, headers=headers, mimetype="text/csv")


def _authority() -> Authority:
    return current_services().auth.authorize_batches(g.console_session.credentials)


def _show_new(
    form: str,
    filled: Mapping[str, str],
    error: errors.CallerError | None = None,
    bad: Sequence[str] = (),
) -> Response:
    problem = describe(error, current_services().languages) if error else None
    status = problem.http_status if problem else HTTPStatus.OK
    words = problem.message if problem else ""
    choices = {"types": CHANNELS_BY_NAME, "providers": schemas.PROVIDERS}
    choices |= {"statuses": schemas.STATUSES, "form": form, "filled": filled}
    return show("batch_new.html", status=status, error=words, errors=bad, **choices)


def _plan(
    authority: Authority,
    form: str,
    filled: Mapping[str, str],
    selection: service.Selection,
    bad: Sequence[str] = (),
) -> Response:
    try:
        wanted = service.BatchRequest(
            selection=selection,
            channel=read_channel(filled.get("type")),
            rate_per_second=_read_rate(filled.get("rate") or "0"),
            reason=why(filled).reason,
            is_plan=True,
        )
        batch = service.make_batch(current_services(), authority, wanted)
    except (errors.InvalidRequestError, errors.ProviderMissingError) as error:
        return _show_new(form, filled, error, bad)
    return go(f"/batches/{batch.batch_id}", "It is planned; nothing is sent before you start it.")


def _read_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise errors.InvalidRequestError("the rate must be a number, 0 or more; 0 means no limit")
    return rate


def _read_filter(filled: Mapping[str, str]) -> HistoryFilter:
    """Return the past resets that a form chooses; its times are in UTC."""
    names = {"org": "orgId", "channel": "channel", "provider": "provider", "status": "status"}
    chosen = {field: filled.get(name) or None for name, field in names.items()}
    for name in ("since", "until"):
        if text := filled.get(name):
            chosen[name] = f"{text}Z" if text.count(":") > 1 else f"{text}:00Z"
    return schemas.read_filter(read_body(orjson.dumps(chosen), SELECT))


def _measure(progress: progresses.Progress, text: str) -> tuple[float | None, str]:
    """Return how many users a second were done since an earlier look, and what to hand on.

    Nothing is kept between two looks: the page hands the last ones on. None: there was none, or
    the batch does not run.
    """
    now = time.time()
    looks = [(float(at), int(done)) for at, done in LOOK.findall(text[:400])]
    looks = [(at, done) for at, done in looks if 0 < now - at < LOOK_SECONDS][-LOOKS:]
    rate = None
    if looks and progress.state is BatchState.RUNNING:
        at, done = looks[0]
        rate = max(0.0, (progress.done - done) / (now - at))
    return rate, " ".join(f"{at:.1f}:{done}" for at, done in [*looks, (now, progress.done)])


def _write_csv(results: Sequence[progresses.Result]) -> str:
    text = StringIO()
    rows = ([_guard(each[name] or "") for name in COLUMNS] for each in results)
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _guard(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
