"""The shapes of the operator's calls, for /openapi.json."""

from __future__ import annotations

from shared.models import Channel, Queue
from shared.store.circuits import CircuitState
from shared.store.pauses import Scope
from web.api_shapes import (
    DETAILS,
    MOMENT,
    MOMENT_OR_NULL,
    SEND_NOTIFICATION,
    TEXT,
    TEXT_OR_NULL,
    Shape,
    an_object,
    reference,
)
from web.facts import VerdictKind
from web.lever_schemas import MOST_NAME_CHARACTERS, MOST_PER_SECOND
from web.levers import LIMITS, MOST_REASON_CHARACTERS

REASON: Shape = TEXT | {
    "minLength": 1,
    "maxLength": MOST_REASON_CHARACTERS,
    "pattern": r"\S",
    "description": "Stands in the audit trail",
}
SCOPE: Shape = {"enum": [each.value for each in Scope]}
NAME: Shape = TEXT | {"minLength": 1, "maxLength": MOST_NAME_CHARACTERS}
COUNT: Shape = {"type": "integer", "minimum": 0}
RATE: Shape = {"type": ["number", "null"], "minimum": 0, "maximum": MOST_PER_SECOND}
COUNT_OR_NULL: Shape = {"type": ["integer", "null"], "minimum": 0}
AMOUNT: Shape = {"type": "number", "minimum": 0}
AMOUNT_OR_NULL: Shape = {"type": ["number", "null"], "minimum": 0}
COUNTS: Shape = {"type": "object", "additionalProperties": COUNT}
YES_OR_NO: Shape = {"type": "boolean"}

WHAT = {"scope": SCOPE, "name": NAME}
PULLED = {"by": TEXT, "reason": TEXT, "since": MOMENT}

OPERATOR_SHAPES: dict[str, Shape] = {
    "Reason": an_object(required=("reason",), reason=REASON),
    "WantedPause": an_object(required=("scope", "name", "reason"), **WHAT, reason=REASON),
    "WantedResume": an_object(
        required=("scope", "name", "reason"),
        **WHAT,
        reason=REASON,
        ratePerSecond=RATE | {"description": "0, or nothing: all at once"},
    ),
    "WantedLimit": an_object(
        required=("limit", "reason"),
        limit={"enum": list(LIMITS)},
        id={
            "type": ["string", "null"],
            "maxLength": MOST_NAME_CHARACTERS,
            "description": "A user's, an organisation's or a token's; none for the budget of SMS",
        },
        reason=REASON,
    ),
    "WantedResend": an_object(
        type=SEND_NOTIFICATION["properties"]["type"]
        | {"description": "Nothing means the channel of before"},
        reason=REASON | {"type": ["string", "null"]},
    ),
    "Pause": an_object(required=(*WHAT, *PULLED), **WHAT, **PULLED),
    "Release": an_object(
        required=(*WHAT, *PULLED, "ratePerSecond", "moved", "tooLate"),
        **WHAT,
        **PULLED,
        ratePerSecond={"type": "number"},
        moved=COUNT,
        tooLate=COUNT | {"description": "Of them, those whose code ends before their turn"},
    ),
    "Pauses": an_object(
        required=("pauses", "releases"),
        pauses={"type": "array", "items": reference("Pause")},
        releases={"type": "array", "items": reference("Release")},
    ),
    "PauseChanged": an_object(required=("scope", "name", "wasPaused"), **WHAT, wasPaused=YES_OR_NO),
    "LimitCleared": an_object(
        required=("limit", "id", "wasCounted"),
        limit={"enum": list(LIMITS)},
        id=TEXT_OR_NULL,
        wasCounted=YES_OR_NO,
    ),
    "ResetHeld": an_object(required=("resetId", "isHeld"), resetId=TEXT, isHeld=YES_OR_NO),
    "Resent": an_object(
        required=("resetId", "expiresAt", "details"),
        resetId=TEXT,
        expiresAt=MOMENT,
        details=DETAILS,
    ),
    "ResetPage": an_object(
        required=("resets", "nextPageToken"),
        resets={"type": "array", "items": reference("Reset")},
        nextPageToken=TEXT_OR_NULL | {"description": "null behind the last page"},
    ),
    "Explanation": an_object(
        required=("verdict", "next", "kind", "chain"),
        verdict=TEXT | {"description": "What happened, in plain words"},
        next=TEXT | {"description": "What to do"},
        kind={"enum": [each.value for each in VerdictKind]},
        chain={"type": "array", "items": reference("Step")},
    ),
    "Step": an_object(required=("at", "step", "words"), at=MOMENT, step=TEXT, words=TEXT),
    "Status": an_object(
        required=("troubles", "due", "oldestDueSeconds", "queues", "providers", "pauses"),
        troubles={
            "type": "array",
            "items": TEXT,
            "description": "What is wrong, the worst first; empty when all is well",
        },
        due=COUNTS | {"description": "Resets that are not final, by queue"},
        dueNow=COUNTS,
        oldestDueSeconds=AMOUNT,
        queues={"type": "array", "items": reference("QueueStatus")},
        providers={"type": "array", "items": reference("ProviderStatus")},
        open=COUNTS | {"description": "Resets that are not final, by status"},
        reached=COUNTS | {"description": "Since the beginning"},
        completed=COUNT,
        hints=COUNTS | {"description": "In the broker; empty when it does not answer"},
        workers=COUNTS,
        pauses={"type": "array", "items": reference("Pause")},
        releases={"type": "array", "items": reference("Release")},
        batches={"type": "array", "items": reference("BatchStatus")},
    ),
    "QueueStatus": an_object(
        required=("queue", "workers", "isPaused"),
        queue={"enum": [each.value for each in Queue]},
        depth=COUNT,
        due=COUNT,
        oldestDueSeconds=AMOUNT,
        inPerMinute=AMOUNT_OR_NULL | {"description": "In the last minute"},
        outPerMinute=AMOUNT_OR_NULL,
        workers=COUNT,
        hints=COUNT_OR_NULL,
        isPaused=YES_OR_NO,
    ),
    "ProviderStatus": an_object(
        required=("provider", "channel", "circuit", "isPaused"),
        provider=TEXT,
        channel={"enum": [each.value for each in Channel]},
        circuit={"enum": [each.value for each in CircuitState]},
        reason=TEXT_OR_NULL,
        calls=COUNT_OR_NULL | {"description": "In the last five minutes"},
        errorRate=AMOUNT_OR_NULL | {"description": "Of them, 0 to 1"},
        p95Ms=COUNT_OR_NULL,
        callbacks=COUNT,
        refusedCallbacks=COUNT,
        lastCallbackAt=MOMENT_OR_NULL,
        weight=COUNT_OR_NULL,
        isPaused=YES_OR_NO,
        lastSwitch={"type": ["object", "null"]},
    ),
    "BatchStatus": an_object(
        required=("batchId", "state", "total"),
        batchId=TEXT,
        state=TEXT,
        total=COUNT,
        recorded=COUNT,
        skipped=COUNT,
        ratePerSecond=AMOUNT,
    ),
    "AuditEntry": an_object(
        required=("at", "by", "action", "target", "reason"),
        at=MOMENT,
        by=TEXT,
        action=TEXT,
        target=TEXT,
        reason=TEXT,
    ),
    "Audit": an_object(
        required=("entries",),
        entries={"type": "array", "items": reference("AuditEntry")},
    ),
}
