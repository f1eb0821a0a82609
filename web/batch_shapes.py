"""The shapes of the calls about batches, for /openapi.json."""

from __future__ import annotations

from shared.models import Channel
from shared.store.batch_records import BatchState
from web.api_shapes import (
    MOMENT,
    MOMENT_OR_NULL,
    SEND_NOTIFICATION,
    TEXT,
    TEXT_OR_NULL,
    Shape,
    an_object,
    reference,
)
from web.batch_schemas import PROVIDERS, STATUSES
from web.batches import LEAST_RATE, MOST_RATE
from web.levers import MOST_REASON_CHARACTERS
from web.resets import CHANNELS_BY_NAME

NULL: Shape = {"type": "null"}
COUNT: Shape = {"type": "integer", "minimum": 0}
COUNTS: Shape = {"type": "object", "additionalProperties": COUNT}
TYPE: Shape = SEND_NOTIFICATION["properties"]["type"]
TYPE_NAME: Shape = {"enum": list(CHANNELS_BY_NAME)}
STATUS: Shape = {"enum": [each.value for each in STATUSES]}
PACE: Shape = {
    "anyOf": [{"const": 0}, {"type": "number", "minimum": LEAST_RATE, "maximum": MOST_RATE}],
    "description": "0: as fast as the providers take them",
}
REASON: Shape = TEXT | {
    "maxLength": MOST_REASON_CHARACTERS,
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
    "WantedBatch": _wanted(),
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
