"""What every call about batches is for, takes and may answer."""

from __future__ import annotations

from shared import errors
from web.api_operations import AUTHENTICATION, BODY, MOMENT, Operation
from web.batch_shapes import PACE, REASON, TYPE_NAME

TAG = "Batches"
BATCH_ID = "9f2c1d7e5a3b8064"
BATCH = {
    "batchId": BATCH_ID, "state": "running",
    "sentence": "running, 412 of 900 done with 2 failures: 2 "
    "failed: http_400", "type": "TYPE_EMAIL", "reason": "the outage of Monday",
    "by": "token 3kqm7zr5", "ratePerSecond": 50.0, "createdAt": MOMENT, "startedAt": MOMENT,
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
        body="WantedBatch",
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
