"""What every call of the operator is for, takes and may answer."""

from __future__ import annotations

from shared import errors
from shared.models import Channel, Queue, Status
from shared.store.admin.circuits import CircuitState
from shared.store.admin.pauses import Scope
from web.admin.actions import LIMITS, MAX_REASON_CHARACTERS
from web.admin.schemas import MAX_NAME_CHARACTERS, MAX_PER_SECOND
from web.explain.model import DiagnosisKind
from web.explain.query import CURSOR_PATTERN, MAX_ON_A_PAGE
from web.openapi.resets import (
    AUTHENTICATION,
    BODY,
    DETAILS,
    MOMENT,
    MOMENT_OR_NULL,
    MOMENT_QUERY,
    RECORDED,
    RECORDING,
    RESET_EXAMPLE,
    SEND_NOTIFICATION,
    TEXT,
    TEXT_OR_NULL,
    Operation,
    Shape,
    an_object,
    reference,
)
from web.resets import MAX_USER_ID_CHARACTERS

TAG = "Operating"
REASON_EXAMPLE = {"reason": "the provider is out of service"}
ACME = {"scope": "organisation", "name": "acme"}
PULLED_ERRORS = {"by": "token 3kqm7zr5", "since": MOMENT_QUERY, **REASON_EXAMPLE}
RESET_ID = RESET_EXAMPLE["resetId"]
LEVER = (*AUTHENTICATION, *BODY[:2], errors.PermissionDeniedError)
READING = (*AUTHENTICATION, errors.PermissionDeniedError)
LIMIT = (
    "limit",
    {"type": "integer", "minimum": 1, "maximum": 1000},
    "How many; 100 when not given",
)
QUEUE = {
    "queue": "urgent", "depth": 3, "due": 1, "oldestDueSeconds": 0.2, "inPerMinute": 61.0,
    "outPerMinute": 60.0, "workers": 2, "hints": 0, "isPaused": False,
}  # fmt: skip
PROVIDER = {
    "provider": "sendgrid", "channel": "email", "order": 1, "circuit": "closed", "reason": None,
    "openedAt": None, "waitSeconds": 0.0, "triesIn30Seconds": 30, "errorRateIn30Seconds": 0.0,
    "calls": 305, "errorRate": 0.003, "p95Ms": 250, "callbacks": 301,
    "refusedCallbacks": 0, "lastCallbackAt": MOMENT_QUERY,
    "isPaused": False, "paused": None, "lastSwitch": None,
}  # fmt: skip
STATUS = {
    "troubles": [], "due": {"urgent": 3, "bulk": 0}, "dueNow": {"urgent": 1, "bulk": 0},
    "oldestDueSeconds": 0.2, "queues": [QUEUE], "providers": [PROVIDER],
    "open": {"queued": 3}, "reached": {"accepted": 2048}, "completed": 1020,
    "hints": {"urgent": 0}, "workers": {"urgent": 2}, "pauses": [], "releases": [], "batches": [],
}  # fmt: skip
PAGE = (
    (
        "userId",
        {"type": "string", "minLength": 1, "maxLength": MAX_USER_ID_CHARACTERS},
        "Of one user; the last ones, and all whose codes still work",
    ),
    ("status", {"enum": [each.value for each in Status]}, "As they stand now"),
    ("since", {"type": "string", "format": "date-time"}, "Recorded then or later"),
    (
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_ON_A_PAGE},
        "How many; 50 when not given. A page may be shorter, even empty, and still have a next",
    ),
    (
        "pageToken",
        {"type": "string", "pattern": f"^{CURSOR_PATTERN}$"},
        "The nextPageToken of before",
    ),
)

OPERATOR_OPERATIONS = (
    Operation(
        method="get",
        paths=("/keyturn/v1/resets",),
        name="listResets",
        summary="Resets in the organisations the caller may read, newest first, page by page",
        tag=TAG,
        query=PAGE,
        answer="ResetPage",
        example={"resets": [RESET_EXAMPLE], "nextPageToken": "2955345-3-18"},
        errors=(
            *AUTHENTICATION,
            errors.InvalidRequestError,
            errors.UserUnknownError,
            errors.DirectoryUnavailableError,
        ),
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/pauses",),
        name="listPauses",
        summary="The pauses in force, and what is being let go after one",
        tag=TAG,
        answer="Pauses",
        example={
            "pauses": [ACME | PULLED_ERRORS],
            "releases": [
                ACME | PULLED_ERRORS | {"ratePerSecond": 50.0, "moved": 1200, "tooLate": 0}
            ],
        },
        errors=AUTHENTICATION,
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/pauses",),
        name="pause",
        summary="Send nothing of a queue, channel, provider or organisation",
        tag=TAG,
        body="WantedPause",
        body_examples={"an organisation": ACME | REASON_EXAMPLE},
        answer="PauseChanged",
        example=ACME | {"wasPaused": False},
        errors=LEVER,
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/pauses/_resume",),
        name="resume",
        summary="Send again; what waited goes at once, or at a pace",
        tag=TAG,
        body="WantedResume",
        body_examples={"at a pace": ACME | REASON_EXAMPLE | {"ratePerSecond": 50}},
        answer="PauseChanged",
        example=ACME | {"wasPaused": True},
        errors=LEVER,
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/limits/_clear",),
        name="clearLimit",
        summary="Forget what was counted toward one limit: " + ", ".join(LIMITS),
        tag=TAG,
        body="WantedLimit",
        body_examples={"a user's": {"limit": "user", "id": "ada"} | REASON_EXAMPLE},
        answer="LimitCleared",
        example={"limit": "user", "id": "ada", "wasCounted": True},
        errors=(*LEVER, errors.DirectoryUnavailableError),
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/resets/{resetId}/_hold",),
        name="holdReset",
        summary="Keep one reset from going out until it is released, or its code ends",
        tag=TAG,
        body="Reason",
        body_examples={"hold": REASON_EXAMPLE},
        answer="ResetHeld",
        example={"resetId": RESET_ID, "isHeld": True},
        errors=(*LEVER, errors.ResetStateError),
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/resets/{resetId}/_release",),
        name="releaseReset",
        summary="Let a reset that was held go out",
        tag=TAG,
        body="Reason",
        body_examples={"release": REASON_EXAMPLE},
        answer="ResetHeld",
        example={"resetId": RESET_ID, "isHeld": False},
        errors=(*LEVER, errors.ResetStateError),
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/resets/{resetId}/_resend",),
        name="resendReset",
        summary="A fresh reset for the user of another one; no cool-down applies",
        tag=TAG,
        body="ResendRequest",
        body_examples={"the same channel": {}, "the other": {"type": "TYPE_SMS"} | REASON_EXAMPLE},
        answer="Resent",
        example=RECORDED | {"resetId": RESET_ID, "expiresAt": MOMENT_QUERY},
        makes_reset=True,
        errors=(
            *LEVER,
            errors.TooManyRequestsError,
            errors.ResetStateError,
            errors.UserUnknownError,
            errors.UserNotInitialisedError,
            errors.MachineUserError,
            *RECORDING,
        ),
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/resets/{resetId}/explanation",),
        name="explainReset",
        summary="Why a reset stands as it does, and what to do next",
        tag=TAG,
        answer="Explanation",
        example={
            "verdict": "The code was used and the password changed at 2026-11-23 12:01:07 UTC.",
            "next": "Nothing; if it was not the user, lock the user and look at the callers.",
            "kind": "over",
            "chain": [
                {
                    "at": MOMENT_QUERY,
                    "step": "call",
                    "words": "asked for by email; organisation acme",
                }
            ],
        },
        errors=(*AUTHENTICATION, errors.DirectoryUnavailableError),
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/status",),
        name="showStatus",
        summary="Queues, providers, pauses and batches, and what is wrong first",
        tag=TAG,
        answer="Status",
        example=STATUS,
        errors=READING,
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/audit",),
        name="showAudit",
        summary="Who did what by hand, and why; the newest first",
        tag=TAG,
        query=(LIMIT,),
        answer="Audit",
        example={
            "entries": [
                {"at": MOMENT_QUERY, "by": "eve", "action": "channel.pause", "target": "sms"}
                | REASON_EXAMPLE
            ]
        },
        errors=(*READING, errors.InvalidRequestError),
    ),
)

REASON: Shape = TEXT | {
    "minLength": 1,
    "maxLength": MAX_REASON_CHARACTERS,
    "pattern": r"\S",
    "description": "Stands in the audit trail",
}
SCOPE: Shape = {"enum": [each.value for each in Scope]}
NAME: Shape = TEXT | {"minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
COUNT: Shape = {"type": "integer", "minimum": 0}
RATE: Shape = {"type": ["number", "null"], "minimum": 0, "maximum": MAX_PER_SECOND}
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
            "maxLength": MAX_NAME_CHARACTERS,
            "description": "A user's, an organisation's or a token's; none for the budget of SMS",
        },
        reason=REASON,
    ),
    "ResendRequest": an_object(
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
        kind={"enum": [each.value for each in DiagnosisKind]},
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
        order=COUNT | {"description": "Its place on the channel, from 1"},
        circuit={"enum": [each.value for each in CircuitState]},
        reason=TEXT_OR_NULL,
        openedAt=MOMENT_OR_NULL,
        waitSeconds=AMOUNT | {"description": "Until an open circuit may be tried"},
        triesIn30Seconds=COUNT | {"description": "Calls in the circuit's window"},
        errorRateIn30Seconds=AMOUNT | {"description": "Of them, 0 to 1"},
        calls=COUNT_OR_NULL | {"description": "In the last five minutes"},
        errorRate=AMOUNT_OR_NULL | {"description": "Of them, 0 to 1"},
        p95Ms=COUNT_OR_NULL,
        callbacks=COUNT,
        refusedCallbacks=COUNT,
        lastCallbackAt=MOMENT_OR_NULL,
        isPaused=YES_OR_NO,
        paused={"type": ["object", "null"], "description": "By, reason and since"},
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
