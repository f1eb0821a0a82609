"""What every REST call is for, takes and may answer: the facts behind /openapi.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared import errors

Errors = tuple[type[errors.CallerError], ...]

MOMENT = "2026-11-23T12:00:00.123456Z"
DETAILS = {"sequence": "7", "changeDate": MOMENT, "resourceOwner": "acme"}
RECORDED = {"details": DETAILS | {"creationDate": MOMENT}}
RESET = {
    "resetId": "3kqm7zr5wjx2n4tbvhcd6gyp8s", "userId": "ada", "orgId": "acme", "channel": "email",
    "language": "de", "status": "accepted", "reason": None, "createdAt": MOMENT,
    "expiresAt": "2026-11-23T13:00:00.123456Z", "completedAt": None, "openedAt": None,
    "recipient": "a***@example.com", "requestId": "9f2c1d7e5a3b8064", "batchId": None,
    "attempts": [
        {"number": 1, "provider": "sendgrid", "startedAt": MOMENT, "finishedAt": MOMENT,
         "outcome": "accepted", "providerMessageId": "Vn0pYyZ9", "detail": None}
    ],
    "events": [{"at": MOMENT, "type": "delivered", "provider": "sendgrid", "detail": None}],
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
        example={"details": DETAILS},
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
        example=RESET,
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
