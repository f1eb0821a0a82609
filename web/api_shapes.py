"""The shapes of REST's requests and answers as JSON Schema, with examples, for /openapi.json."""

from __future__ import annotations

from typing import Any

from shared.models import Channel, Outcome, Status
from shared.policies import MAX_PASSWORD_CHARACTERS
from web.passwords import MAX_CODE_CHARACTERS
from web.resets import CHANNELS_BY_NAME, CHANNELS_BY_NUMBER
from web.resets_v2 import CHANNELS, MAX_TEMPLATE_CHARACTERS

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
TEXT_OR_NULL: Shape = {"type": ["string", "null"]}
MOMENT: Shape = {"type": "string", "format": "date-time"}
MOMENT_OR_NULL: Shape = {"type": ["string", "null"], "format": "date-time"}
SEQUENCE: Shape = {"type": "string", "pattern": "^[0-9]+$", "description": "A number as text"}
IGNORED_ID: Shape = TEXT_OR_NULL | {"description": "The path's id counts"}


def reference(name: str) -> Shape:
    """A shape by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(*, required: tuple[str, ...] = (), **properties: Shape) -> Shape:
    """An object; unknown names are ignored in requests."""
    shape: Shape = {"type": "object", "properties": properties}
    return shape | ({"required": list(required)} if required else {})


def _enum(names: list[str], numbers: list[int], description: str) -> Shape:
    return {"enum": [*names, *numbers, None], "description": description}


def _one_of(shape: Shape, *names: str) -> Shape:
    """A oneof of protobuf: at most one of two names has a value."""
    alternatives = [{"properties": {name: {"type": "null"}}} for name in names]
    return shape | {"anyOf": alternatives}


DETAILS = an_object(
    required=("sequence", "changeDate", "resourceOwner"),
    sequence=SEQUENCE | {"description": "Counts the events of this user; a number as text"},
    creationDate=MOMENT,
    changeDate=MOMENT,
    resourceOwner=TEXT | {"description": "The user's organisation"},
)
ATTEMPT = an_object(
    required=("number", "provider", "startedAt", "outcome"),
    number={"type": "integer", "minimum": 1},
    provider=TEXT,
    startedAt=MOMENT,
    finishedAt=MOMENT_OR_NULL,
    outcome={"enum": [*(each.value for each in Outcome), None]},
    providerMessageId=TEXT_OR_NULL,
    detail=TEXT_OR_NULL,
)
EVENT = an_object(required=("at", "type"), at=MOMENT, type=TEXT, provider=TEXT, detail=TEXT_OR_NULL)
RESET = an_object(
    required=("resetId", "userId", "orgId", "channel", "status", "createdAt", "expiresAt"),
    resetId=TEXT,
    userId=TEXT,
    orgId=TEXT,
    channel={"enum": [each.value for each in Channel]},
    language=TEXT,
    status={"enum": [each.value for each in Status]},
    reason=TEXT_OR_NULL,
    createdAt=MOMENT,
    expiresAt=MOMENT,
    completedAt=MOMENT_OR_NULL,
    openedAt=MOMENT_OR_NULL,
    recipient=TEXT_OR_NULL | {"description": "Masked"},
    requestId=TEXT_OR_NULL,
    batchId=TEXT_OR_NULL,
    attempts={"type": "array", "items": reference("Attempt")},
    events={"type": "array", "items": reference("DeliveryEvent")},
)
PROBLEM = an_object(
    required=("code", "message"),
    code={"type": "integer", "description": "The gRPC code"},
    message=TEXT | {"description": "With the id behind it; its language is Accept-Language's"},
    details={"type": "array", "minItems": 1, "items": reference("ProblemDetail")},
)
PROBLEM_DETAIL: Shape = {
    "oneOf": [
        an_object(
            required=("@type", "id", "message"),
            **{"@type": {"const": "type.googleapis.com/zitadel.v1.ErrorDetail"}},
            id=TEXT | {"description": "What clients match on"},
            message=TEXT,
        ),
        an_object(
            required=("@type", "retryDelay"),
            **{"@type": {"const": "type.googleapis.com/google.rpc.RetryInfo"}},
            retryDelay={"type": "string", "pattern": "^[0-9]+s$"},
        ),
    ]
}
SEND_NOTIFICATION = an_object(
    userId=IGNORED_ID,
    type=_enum(list(CHANNELS_BY_NAME), list(CHANNELS_BY_NUMBER), "Nothing means TYPE_EMAIL"),
)
SEND_LINK = an_object(
    notificationType=_enum(
        [name for name in CHANNELS if isinstance(name, str)],
        [number for number in CHANNELS if isinstance(number, int)],
        "Nothing means e-mail",
    ),
    urlTemplate={
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_TEMPLATE_CHARACTERS,
        "description": "The link to write, with {{.UserID}}, {{.Code}} and {{.OrgID}}; it must "
        "lead to an allowed host",
    },
)
PASSWORD_RESET = _one_of(
    an_object(
        userId=IGNORED_ID,
        sendLink={"anyOf": [reference("SendLink"), {"type": "null"}]},
        returnCode={
            "type": ["object", "null"],
            "description": "Answer the code and send nothing",
        },
    ),
    "sendLink",
    "returnCode",
)
NEW_PASSWORD = an_object(
    required=("password",),
    password={"type": "string", "minLength": 1, "maxLength": MAX_PASSWORD_CHARACTERS},
    changeRequired={
        "type": ["boolean", "null"],
        "description": "Kept as a fact of the user until the next password; whoever signs the "
        "person in must ask for another one",
    },
)
SET_PASSWORD = _one_of(
    an_object(
        required=("newPassword",),
        userId=IGNORED_ID,
        newPassword=reference("NewPassword"),
        currentPassword={
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_PASSWORD_CHARACTERS,
        },
        verificationCode={
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_CODE_CHARACTERS,
            "description": "Case, hyphens and blanks do not matter",
        },
    ),
    "currentPassword",
    "verificationCode",
)
SHAPES: dict[str, Shape] = {
    "Details": DETAILS,
    "Attempt": ATTEMPT,
    "DeliveryEvent": EVENT,
    "Reset": RESET,
    "Problem": PROBLEM,
    "ProblemDetail": PROBLEM_DETAIL,
    "SendNotification": SEND_NOTIFICATION,
    "SendLink": SEND_LINK,
    "PasswordReset": PASSWORD_RESET,
    "NewPassword": NEW_PASSWORD,
    "SetPassword": SET_PASSWORD,
    "Recorded": an_object(required=("details",), details=reference("Details")),
    "RecordedWithCode": an_object(
        required=("details",), details=reference("Details"), verificationCode=TEXT
    ),
    "Alive": an_object(required=("status",), status={"const": "ok"}),
    "Readiness": an_object(
        required=("status", "checks"),
        status={"enum": ["ok", "unavailable"]},
        checks={"type": "object", "additionalProperties": TEXT},
    ),
}
