"""What every call of the operator is for, takes and may answer."""

from __future__ import annotations

from shared import errors
from shared.models import Status
from web.api_operations import (
    AUTHENTICATION,
    BODY,
    MOMENT,
    RECORDED,
    RECORDING,
    RESET,
    Operation,
)
from web.levers import LIMITS
from web.listing import MOST_ON_A_PAGE, PLACE_PATTERN
from web.resets import MAX_USER_ID_CHARACTERS

TAG = "Operating"
REASON = {"reason": "the provider is out of service"}
ACME = {"scope": "organisation", "name": "acme"}
PULLED = {"by": "token 3kqm7zr5", "since": MOMENT, **REASON}
RESET_ID = RESET["resetId"]
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
    "provider": "sendgrid", "channel": "email", "circuit": "closed", "reason": None, "calls": 305,
    "errorRate": 0.003, "p95Ms": 250, "callbacks": 301,
    "refusedCallbacks": 0, "lastCallbackAt": MOMENT,
    "weight": None, "isPaused": False, "lastSwitch": None,
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
        {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE},
        "How many; 50 when not given. A page may be shorter, even empty, and still have a next",
    ),
    (
        "pageToken",
        {"type": "string", "pattern": f"^{PLACE_PATTERN}$"},
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
        example={"resets": [RESET], "nextPageToken": "2955345-3-18"},
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
            "pauses": [ACME | PULLED],
            "releases": [ACME | PULLED | {"ratePerSecond": 50.0, "moved": 1200, "tooLate": 0}],
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
        body_examples={"an organisation": ACME | REASON},
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
        body_examples={"at a pace": ACME | REASON | {"ratePerSecond": 50}},
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
        body_examples={"a user's": {"limit": "user", "id": "ada"} | REASON},
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
        body_examples={"hold": REASON},
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
        body_examples={"release": REASON},
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
        body="WantedResend",
        body_examples={"the same channel": {}, "the other": {"type": "TYPE_SMS"} | REASON},
        answer="Resent",
        example=RECORDED | {"resetId": RESET_ID, "expiresAt": MOMENT},
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
                {"at": MOMENT, "step": "call", "words": "asked for by email; organisation acme"}
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
                {"at": MOMENT, "by": "eve", "action": "channel.pause", "target": "sms"} | REASON
            ]
        },
        errors=(*READING, errors.InvalidRequestError),
    ),
)
