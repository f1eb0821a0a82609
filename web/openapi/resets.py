"""What every REST call is for, takes and may answer: the facts behind /openapi.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared import errors
from shared.models import Channel, Outcome, Status
from shared.policies import MAX_PASSWORD_CHARACTERS
from web.passwords import MAX_CODE_CHARACTERS
from web.resets import CHANNELS, CHANNELS_BY_NAME, CHANNELS_BY_NUMBER, MAX_TEMPLATE_CHARACTERS

Errors = tuple[type[errors.CallerError], ...]

MOMENT_QUERY = "2026-11-23T12:00:00.123456Z"
DETAILS_EXAMPLE = {"sequence": "7", "changeDate": MOMENT_QUERY, "resourceOwner": "acme"}
RECORDED = {"details": DETAILS_EXAMPLE | {"creationDate": MOMENT_QUERY}}
RESET_EXAMPLE = {
    "resetId": "3kqm7zr5wjx2n4tbvhcd6gyp8s", "userId": "ada", "orgId": "acme", "channel": "email",
    "language": "de", "status": "accepted", "reason": None, "createdAt": MOMENT_QUERY,
    "expiresAt": "2026-11-23T13:00:00.123456Z", "completedAt": None, "openedAt": None,
    "recipient": "a***@example.com", "requestId": "9f2c1d7e5a3b8064", "batchId": None,
    "attempts": [
        {"number": 1, "provider": "sendgrid", "startedAt": MOMENT_QUERY, "finishedAt": MOMENT_QUERY,
         "outcome": "accepted", "providerMessageId": "Vn0pYyZ9", "detail": None}
    ],
    "events": [{"at": MOMENT_QUERY, "type": "delivered", "provider": "sendgrid", "detail": None}],
}  # fmt: skip

AUTHENTICATION: Errors = (
    errors.AuthHeaderMissingError,
    errors.AuthHeaderInvalidError,
    errors.TokenInvalidError,
    errors.OrganisationUnknownError,
    errors.MembershipMissingError,
    errors.StoreUnavailableError,
    errors.IssuerUnavailableError,
    errors.NotFoundError,
)
BODY: Errors = (errors.InvalidRequestError, errors.BodyTooLargeError, errors.TooManyRequestsError)
RECORDING: Errors = (
    errors.UserInactiveError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.IdempotencyMismatchError,
    errors.DirectoryUnavailableError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one or two paths."""

    method: str
    paths: tuple[str, ...]
    name: str
    summary: str
    tag: str
    answer: str  # the shape of its 200
    example: Any
    errors: Errors = ()
    body: str | None = None
    body_examples: dict[str, Any] = field(default_factory=dict)
    uploads: tuple[str, ...] = ()  # what else than JSON a body may be
    query: tuple[tuple[str, dict[str, Any], str], ...] = ()  # name, shape, what it means
    needs_token: bool = True
    makes_reset: bool = False
    takes_key: bool = False  # without making a single reset
    status: int = 200
    is_deprecated: bool = False
    answer_type: str = "application/json"
    unwell: str | None = None  # the shape of a 503 that is no error


OPERATIONS = (
    Operation(
        method="post",
        paths=(
            "/management/v1/users/{userId}/password/_reset",
            "/users/{userId}/password/_reset",
        ),
        name="sendResetPasswordNotification",
        summary="Send Reset Password Notification (v1): a message with a code and a link",
        tag="ZITADEL v1",
        body="SendNotification",
        body_examples={"e-mail": {"type": "TYPE_EMAIL"}, "SMS": {"type": "TYPE_SMS"}},
        answer="Recorded",
        example=RECORDED,
        makes_reset=True,
        is_deprecated=True,
        errors=(
            *AUTHENTICATION,
            *BODY,
            errors.PermissionDeniedError,
            errors.UserUnknownError,
            errors.UserNotInitialisedError,
            errors.MachineUserError,
            *RECORDING,
        ),
    ),
    Operation(
        method="post",
        paths=("/v2/users/{userId}/password_reset",),
        name="passwordReset",
        summary="PasswordReset (v2): a message with a link, or the code in the answer",
        tag="ZITADEL v2",
        body="PasswordReset",
        body_examples={
            "e-mail": {"sendLink": {"notificationType": "NOTIFICATION_TYPE_Email"}},
            "SMS": {"sendLink": {"notificationType": "NOTIFICATION_TYPE_SMS"}},
            "the code in the answer": {"returnCode": {}},
        },
        answer="RecordedWithCode",
        example=RECORDED | {"verificationCode": "7KQMZR5W"},
        makes_reset=True,
        errors=(
            *AUTHENTICATION,
            *BODY,
            errors.UrlTemplateError,
            errors.UrlTemplateFieldError,
            errors.UserHiddenError,
            errors.UserPermissionError,
            errors.UrlNotAllowedError,
            errors.ResetUserNotInitialisedError,
            errors.CodeExpiredError,  # a repeated returnCode whose key was taken away
            *RECORDING,
        ),
    ),
    Operation(
        method="post",
        paths=("/v2/users/{userId}/password",),
        name="setPassword",
        summary="SetPassword (v2): by code, by the current password, or by permission",
        tag="ZITADEL v2",
        body="SetPassword",
        body_examples={
            "by code": {
                "newPassword": {"password": "Correct-horse-1"},
                "verificationCode": "7KQM-ZR5W",
            },
            "by permission": {
                "newPassword": {"password": "Correct-horse-1", "changeRequired": True}
            },
        },
        answer="Recorded",
        example={"details": DETAILS_EXAMPLE},
        errors=(
            *AUTHENTICATION,
            *BODY,
            errors.PasswordMissingError,
            errors.PasswordTooLongError,
            errors.UserHiddenError,
            errors.UserPermissionError,
            errors.PasswordUserUnknownError,
            errors.PasswordUserNotInitialisedError,
            errors.UserInactiveError,
            errors.CodeMismatchError,
            errors.CodeUnusableError,
            errors.CodeExpiredError,
            errors.PasswordMismatchError,
            errors.PasswordPolicyError,
            errors.DirectoryUnavailableError,
        ),
    ),
    Operation(
        method="get",
        paths=("/keyturn/v1/resets/{resetId}",),
        name="showReset",
        summary="A reset's status and timeline",
        tag="Keyturn",
        answer="Reset",
        example=RESET_EXAMPLE,
        errors=(*AUTHENTICATION, errors.DirectoryUnavailableError),
    ),
    Operation(
        method="get",
        paths=("/livez",),
        name="livez",
        summary="The process answers",
        tag="Health",
        answer="Alive",
        example={"status": "ok"},
        needs_token=False,
    ),
    Operation(
        method="get",
        paths=("/readyz",),
        name="readyz",
        summary="Redis, the broker and a worker answer",
        tag="Health",
        answer="Readiness",
        example={"status": "ok", "checks": {"redis": "ok", "broker": "ok", "worker": "ok"}},
        needs_token=False,
        unwell="Readiness",
    ),
    Operation(
        method="get",
        paths=("/metrics",),
        name="metrics",
        summary="Prometheus text; the same whichever process answers",
        tag="Health",
        answer="",
        example="",
        answer_type="text/plain",
        needs_token=False,
        errors=(errors.StoreUnavailableError,),
    ),
)

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
