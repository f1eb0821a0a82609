"""Map each error to gRPC code, HTTP status and id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared import errors
from shared.languages import Languages
from shared.organisations.profile import Branding
from shared.settings import Settings

HTTP_STATUS = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400,
    10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 16: 401,
}  # fmt: skip

MAX_LANGUAGE_CHARACTERS = 500  # of an Accept-Language header; the rest is not read
MAX_LANGUAGES = 10  # of those; a browser names two or three, and each unknown one costs a search

INVALID, DEADLINE, NOT_FOUND, DENIED, EXHAUSTED, PRECONDITION = 3, 4, 5, 7, 8, 9
ABORTED = 10
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16

CODES: dict[type[errors.CallerError], int] = {
    errors.InvalidRequestError: INVALID,
    errors.BodyTooLargeError: EXHAUSTED,
    errors.SelectionError: INVALID,
    errors.ProfileError: INVALID,
    errors.CallbackTooLargeError: EXHAUSTED,
    errors.CallbackRefusedError: DENIED,
    errors.UrlTemplateError: INVALID,
    errors.UrlTemplateFieldError: INVALID,
    errors.UrlNotAllowedError: INVALID,
    errors.SubscriberUrlError: INVALID,
    errors.IdentifierError: INVALID,
    errors.CaptchaError: INVALID,
    errors.TooManySubscriptionsError: PRECONDITION,
    errors.PasswordMissingError: INVALID,
    errors.PasswordPolicyError: INVALID,
    errors.PasswordTooLongError: INVALID,
    errors.PasswordMismatchError: INVALID,
    errors.CodeMismatchError: INVALID,
    errors.AuthHeaderMissingError: UNAUTHENTICATED,
    errors.AuthHeaderInvalidError: UNAUTHENTICATED,
    errors.TokenInvalidError: UNAUTHENTICATED,
    errors.OrganisationUnknownError: DENIED,
    errors.MembershipMissingError: NOT_FOUND,
    errors.PermissionDeniedError: DENIED,
    errors.NotFoundError: NOT_FOUND,
    errors.MethodNotAllowedError: UNIMPLEMENTED,
    errors.UserPermissionError: DENIED,
    errors.UserUnknownError: PRECONDITION,
    errors.UserHiddenError: NOT_FOUND,
    errors.PasswordUserUnknownError: PRECONDITION,
    errors.PasswordUserNotInitialisedError: PRECONDITION,
    errors.ResetUserNotInitialisedError: PRECONDITION,
    errors.UserNotInitialisedError: PRECONDITION,
    errors.MachineUserError: PRECONDITION,
    errors.UserInactiveError: PRECONDITION,
    errors.RecipientMissingError: PRECONDITION,
    errors.CountryNotAllowedError: PRECONDITION,
    errors.LineTypeError: PRECONDITION,
    errors.SmsSuspiciousError: PRECONDITION,
    errors.RecipientSuppressedError: PRECONDITION,
    errors.CodeUnusableError: PRECONDITION,
    errors.CodeExpiredError: PRECONDITION,
    errors.IdempotencyMismatchError: PRECONDITION,
    errors.ResetStateError: PRECONDITION,
    errors.BatchStateError: PRECONDITION,
    errors.VersionConflictError: PRECONDITION,
    errors.VersionMissingError: PRECONDITION,
    errors.ErasingError: ABORTED,
    errors.OrganisationInUseError: PRECONDITION,
    errors.TooManyRequestsError: EXHAUSTED,
    errors.ProviderMissingError: UNAVAILABLE,
    errors.StoreUnavailableError: UNAVAILABLE,
    errors.DirectoryUnavailableError: UNAVAILABLE,
    errors.IssuerUnavailableError: UNAVAILABLE,
    errors.CaptchaUnavailableError: UNAVAILABLE,
}
# Errors whose text contains details (a line, a state), which the translation is followed by.
ERRORS_WITH_DETAILS = (
    errors.SelectionError,
    errors.BatchStateError,
    errors.ProfileError,
    errors.OrganisationInUseError,
)
# HTTP statuses that are more exact than the gRPC code's.
STATUS_OVERRIDES: dict[type[errors.CallerError], int] = {
    errors.BodyTooLargeError: 413,
    errors.CallbackTooLargeError: 413,
    errors.MethodNotAllowedError: 405,
    errors.VersionConflictError: 412,
    errors.VersionMissingError: 428,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in the form that all protocols serialise."""

    code: int
    http_status: int
    id: str | None
    message: str
    retry_after_seconds: int | None = None
    limit: str | None = None  # that was reached
    other_channel: str | None = None  # on which the user can be reached

    @property
    def text(self) -> str:
        """Return the message followed by the id, as ZITADEL writes it."""
        return f"{self.message} ({self.id})" if self.id else self.message

    def as_json(self) -> dict[str, Any]:
        """Serialise as google.rpc.Status."""
        body: dict[str, Any] = {"code": self.code, "message": self.text}
        if details := self._details():
            body["details"] = details
        return body

    def _details(self) -> list[dict[str, Any]]:
        details: list[dict[str, Any]] = []
        if self.id:
            kind = "type.googleapis.com/zitadel.v1.ErrorDetail"
            details.append({"@type": kind, "id": self.id, "message": self.message})
        if self.retry_after_seconds is not None:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": f"{self.retry_after_seconds}s"})
        if self.other_channel is not None:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            details.append(
                {"@type": kind, "reason": "USE_OTHER_CHANNEL", "domain": "keyturn",
                 "metadata": {"type": self.other_channel}}
            )  # fmt: skip
        return details


LATE = Problem(DEADLINE, 504, None, "The deadline passed before the call began; nothing was done")
NO_SUCH_CALL = Problem(UNIMPLEMENTED, 404, None, "There is no such call")
UNKNOWN_COMPRESSION = Problem(
    UNIMPLEMENTED, 501, None, "The compression is unknown; gzip and identity are known"
)
UNEXPECTED = Problem(INTERNAL, 500, None, "Internal error; it was logged under this X-Request-Id")


class ProblemError(Exception):
    """A problem of a protocol, not of a use case."""

    def __init__(self, problem: Problem) -> None:
        """`problem` is what the caller receives."""
        super().__init__(problem.message)
        self.problem = problem


def limit_policy(settings: Settings) -> dict[str, str]:
    """Return the header RateLimit-Policy, the windows of resets; nothing if there are none.

    Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
    """
    windows = (
        ("organisation", settings.org_limit_per_minute, 60),
        ("caller", settings.caller_limit_per_minute, 60),
        ("cooldown", 1, int(settings.user_cooldown_seconds)),
        ("user_hour", settings.user_limit_per_hour, 3600),
        ("user_day", settings.user_limit_per_day, 86400),
    )
    policy = ", ".join(f'"{name}";q={most};w={window}' for name, most, window in windows
                       if most and window)  # fmt: skip
    return {"RateLimit-Policy": policy} if policy else {}


def limit_reached(problem: Problem) -> dict[str, str]:
    """Return the header RateLimit of a limit that was reached; nothing for other problems."""
    if not problem.limit:
        return {}
    return {"RateLimit": f'"{problem.limit}";r=0;t={problem.retry_after_seconds}'}


def choose_language(
    languages: Languages,
    accept_language: str | None,
    *,
    first: str = "",
    branding: Branding | None = None,
) -> str:
    """Return the language that an Accept-Language header ranks highest among ours; else English.

    `first` is a tag to try before those of the header; a branding may allow fewer languages.
    """
    from werkzeug.datastructures import LanguageAccept  # noqa: PLC0415 - commands do without it
    from werkzeug.http import parse_accept_header  # noqa: PLC0415

    header = (accept_language or "")[:MAX_LANGUAGE_CHARACTERS]
    ranges = parse_accept_header(header, LanguageAccept)
    wanted = [tag for tag, quality in ranges if quality > 0]
    allowed, default = (branding.languages, branding.language) if branding else ((), None)
    return languages.choose(first, *wanted[:MAX_LANGUAGES], allowed=allowed, default=default)


def describe(error: errors.CallerError, languages: Languages, language: str = "en") -> Problem:
    """Return the problem of an error, translated if a translation exists."""
    code = CODES[type(error)]
    error_id = error.id
    if isinstance(error, errors.PasswordPolicyError):
        error_id = error.IDS[error.rule]
    translated = languages.error(language, error_id or type(error).__name__)
    retry_after_seconds, limit = None, None
    if isinstance(error, errors.TooManyRequestsError):
        retry_after_seconds, limit = error.retry_after_seconds, error.limit
        translated = translated and f"{translated} ({error.limit}; {retry_after_seconds} s)"
    if isinstance(error, ERRORS_WITH_DETAILS):
        translated = translated and f"{translated} ({error.message})"
    return Problem(
        code,
        STATUS_OVERRIDES.get(type(error), HTTP_STATUS[code]),
        error_id,
        translated or error.message,
        retry_after_seconds,
        limit,
        "TYPE_EMAIL" if isinstance(error, errors.SmsSuspiciousError) and error.has_email else None,
    )
