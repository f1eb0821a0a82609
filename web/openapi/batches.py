"""What every call about batches is for, takes and may answer."""

from __future__ import annotations

from shared import errors
from shared.models import Channel
from shared.store.batches import BatchState
from web.admin.actions import MAX_REASON_CHARACTERS
from web.batches.schemas import PROVIDERS, STATUSES
from web.batches.service import LEAST_RATE, MAX_RATE
from web.openapi.resets import (
    AUTHENTICATION,
    BODY,
    MOMENT,
    MOMENT_OR_NULL,
    MOMENT_QUERY,
    SEND_NOTIFICATION,
    TEXT,
    TEXT_OR_NULL,
    Operation,
    Shape,
    an_object,
    reference,
)
from web.resets import CHANNELS_BY_NAME

NULL: Shape = {"type": "null"}
COUNT: Shape = {"type": "integer", "minimum": 0}
COUNTS: Shape = {"type": "object", "additionalProperties": COUNT}
TYPE: Shape = SEND_NOTIFICATION["properties"]["type"]
TYPE_NAME: Shape = {"enum": list(CHANNELS_BY_NAME)}
STATUS: Shape = {"enum": [each.value for each in STATUSES]}
PACE: Shape = {
    "anyOf": [{"const": 0}, {"type": "number", "minimum": LEAST_RATE, "maximum": MAX_RATE}],
    "description": "0: as fast as the providers take them",
}
REASON: Shape = TEXT | {
    "maxLength": MAX_REASON_CHARACTERS,
    "description": "Stands in the audit trail",
}
WINDOW: Shape = {
    "type": ["string", "null"],
    "pattern": r"^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]"
    r":[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])$",
    "description": "RFC 3339, with its zone",
}
USER_IDS: Shape = {
    "type": "array",
    "items": TEXT | {"minLength": 1, "maxLength": 200, "pattern": "^[^/]+$"},
    "minItems": 1,
}


def _or_null(shape: Shape) -> Shape:
    return {"anyOf": [shape, NULL]}


def _one_of(*names: str) -> list[Shape]:
    """One of these has a value, the others have none."""
    return [
        {
            "required": [name],
            "properties": {name: {"not": NULL}} | {n: NULL for n in names if n != name},
        }
        for name in names
    ]


def _wanted() -> Shape:
    alternatives = _one_of("userIds", "select", "planId")
    alternatives[2]["properties"]["dryRun"] = {"enum": [False, None]}
    shape = an_object(
        userIds=_or_null(USER_IDS),
        select=_or_null(reference("Select")),
        planId=TEXT_OR_NULL | {"description": "Start what a dry run planned"},
        type=TYPE,
        dryRun={"type": ["boolean", "null"], "description": "Plan only: count, send nothing"},
        ratePerSecond=_or_null(PACE),
        reason=_or_null(REASON),
    )
    return shape | {"oneOf": alternatives}


PLAN = an_object(
    required=("total", "send", "skipped", "skips"),
    total=COUNT,
    send=COUNT,
    organisations=COUNTS,
    languages=COUNTS,
    channels=COUNTS,
    skipped=COUNT,
    skips=COUNTS,
    sms=an_object(
        segments=COUNT,
        countries=COUNTS,
        cost={"type": "number", "description": "By KEYTURN_SMS_PRICES"},
        currency=TEXT,
        unpriced=COUNT | {"description": "Messages to countries without a price"},
    ),
)
BATCH_SHAPES: dict[str, Shape] = {
    "Select": an_object(
        orgId=TEXT_OR_NULL,
        since=WINDOW,
        until=WINDOW,
        channel={"enum": [*(each.value for each in Channel), None]},
        provider={"enum": [*PROVIDERS, None]} | {"description": "Of the last attempt"},
        status={
            "anyOf": [STATUS, {"type": "array", "items": STATUS}, NULL],
            "description": "All of them, when not given",
        },
    ),
    "BatchRequest": _wanted(),
    "BatchReason": an_object(reason=_or_null(REASON)),
    "Plan": PLAN,
    "BatchBegun": an_object(
        required=("batchId", "total"),
        batchId=TEXT,
        total=COUNT,
        planId=TEXT | {"description": "Of a dry run: what starts it"},
        state={"enum": [each.value for each in BatchState]},
        plan=_or_null(reference("Plan")),
    ),
    "Batch": an_object(
        required=("batchId", "state", "sentence", "total"),
        batchId=TEXT,
        state={"enum": [each.value for each in BatchState]},
        sentence=TEXT | {"description": "For people; it hides no failure"},
        type=TYPE_NAME,
        reason=TEXT,
        by=TEXT,
        ratePerSecond={"type": "number", "minimum": 0},
        createdAt=MOMENT,
        startedAt=MOMENT_OR_NULL,
        finishedAt=MOMENT_OR_NULL,
        total=COUNT,
        waiting=COUNT | {"description": "Users not looked at yet"},
        queued=COUNT | {"description": "Resets that have not ended"},
        accepted=COUNT,
        delivered=COUNT,
        failed=COUNT,
        failures=COUNTS,
        cancelled=COUNT,
        skipped=COUNT,
        skips=COUNTS,
        plan=_or_null(reference("Plan")),
    ),
}

TAG = "Batches"
BATCH_ID = "9f2c1d7e5a3b8064"
BATCH = {
    "batchId": BATCH_ID, "state": "running",
    "sentence": "running, 412 of 900 done with 2 failures: 2 "
    "failed: http_400", "type": "TYPE_EMAIL", "reason": "the outage of Monday",
    "by": "token 3kqm7zr5", "ratePerSecond": 50.0, "createdAt": MOMENT_QUERY, "startedAt": MOMENT_QUERY,
    "finishedAt": None, "total": 900, "waiting": 463, "queued": 25, "accepted": 380,
    "delivered": 26, "failed": 2, "failures": {"failed: http_400": 2}, "cancelled": 0,
    "skipped": 4, "skips": {"inactive": 3, "newer_reset": 1}, "plan": None,
}  # fmt: skip
REFUSALS = (*AUTHENTICATION, errors.PermissionDeniedError)
LINES = ("application/x-ndjson", "text/plain")


def _change(verb: str, summary: str) -> Operation:
    return Operation(
        method="post",
        paths=(f"/keyturn/v1/batches/{{batchId}}/_{verb}",),
        name=f"{verb}Batch",
        summary=summary,
        tag=TAG,
        body="BatchReason",
        body_examples={"with a reason": {"reason": "the provider asked us to"}},
        answer="Batch",
        example=BATCH,
        errors=(*REFUSALS, *BODY, errors.BatchStateError),
    )


BATCH_OPERATIONS = (
    Operation(
        method="post",
        paths=("/keyturn/v1/batches",),
        name="makeBatch",
        summary="Plan or start a batch: a list, a filter over past resets, a plan, or a file of "
        'up to 1,000,000 lines, a user id or {"userId":…} each',
        tag=TAG,
        body="BatchRequest",
        body_examples={
            "a list": {"userIds": ["ada"], "type": "TYPE_EMAIL", "reason": "the outage"},
            "a plan": {"userIds": ["ada"], "dryRun": True},
        },
        uploads=LINES,
        query=(
            ("type", TYPE_NAME, "Of a file; a body's own counts"),
            ("dryRun", {"type": "boolean"}, "Of a file; a body's own counts"),
            ("ratePerSecond", PACE, "Of a file; a body's own counts"),
            ("reason", REASON, "Of a file; a body's own counts"),
        ),
        answer="BatchBegun",
        example={"batchId": BATCH_ID, "total": 900},
        status=202,
        takes_key=True,
        errors=(
            *REFUSALS,
            *BODY,
            errors.SelectionError,
            errors.BatchStateError,
            errors.IdempotencyMismatchError,
            errors.ProviderMissingError,
        ),
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/batches/{batchId}",),
        name="showBatch",
        summary="How a batch stands",
        tag=TAG,
        answer="Batch",
        example=BATCH,
        errors=REFUSALS,
    ),
    _change("pause", "Send nothing more of a batch until it is resumed"),
    _change("resume", "Go on with a paused batch"),
    _change("cancel", "End a batch: what was not handed over never will be"),
    Operation(
        method="get",
        paths=("/keyturn/v1/batches/{batchId}/results",),
        name="listBatchResults",
        summary="What became of every user: a line {userId, resetId, status, reason} each",
        tag=TAG,
        answer="",
        example="",
        answer_type="application/x-ndjson",
        errors=REFUSALS,
    ),
)
