"""Every error; the docstring of a CallerError is the message to the caller."""

from __future__ import annotations

from typing import ClassVar


class SettingsError(Exception):
    """A setting is missing or wrong; the text says how to mend it."""


class KeyturnError(Exception):
    """Root of all that Keyturn raises at run time."""


class CallerError(KeyturnError):
    """Something the caller is told; the class's docstring is the message unless one is given."""

    id: ClassVar[str | None] = None

    def __init__(self, message: str | None = None) -> None:
        """`message` is read by the caller: no address, no code, no token."""
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The words for the caller."""
        return str(self.args[0])


class UnauthenticatedError(CallerError):
    """Not authenticated"""


class AuthHeaderMissingError(UnauthenticatedError):
    """auth header missing"""


class AuthHeaderInvalidError(UnauthenticatedError):
    """invalid auth header"""

    id = "AUTH-toLo1"


class TokenInvalidError(UnauthenticatedError):
    """invalid token"""

    id = "AUTH-7fs1e"


class UserPermissionError(CallerError):
    """No matching permissions found"""

    id = "AUTH-AWfge"


class CallbackRefusedError(CallerError):
    """The callback is not signed by the provider"""

    id = "KEYTURN-CallbackRefused"


class OrganisationUnknownError(CallerError):
    """Organisation doesn't exist"""

    id = "AUTH-Bs7Ds"


class MembershipMissingError(CallerError):
    """membership not found"""

    id = "AUTHZ-cdgFk"


class PermissionDeniedError(CallerError):
    """No matching permissions found"""

    id = "AUTH-5mWD2"


class NotFoundError(CallerError):
    """Not Found"""


class MethodNotAllowedError(CallerError):
    """Method Not Allowed"""


class UserUnknownError(CallerError):
    """User could not be found"""

    id = "COMMAND-Hj9ds"


class UserHiddenError(CallerError):
    """User could not be found"""

    id = "COMMAND-SAF4f"


class PasswordUserUnknownError(CallerError):
    """User could not be found"""

    id = "COMMAND-G8dh3"


class ResetUserNotInitialisedError(CallerError):
    """User is not yet initialised"""

    id = "COMMAND-Sfe4g"


class PasswordUserNotInitialisedError(CallerError):
    """User is not yet initialised"""

    id = "COMMAND-M9dse"


class UserNotInitialisedError(CallerError):
    """User is not yet initialised"""

    id = "COMMAND-2M9sd"


class MachineUserError(CallerError):
    """The user is a machine; only people can reset a password"""

    id = "KEYTURN-NotHuman"


class UserInactiveError(CallerError):
    """The user is locked or deactivated"""

    id = "KEYTURN-Inactive"


class RecipientMissingError(CallerError):
    """The user has no verified address on the requested channel"""

    id = "KEYTURN-NoRecipient"


class CountryNotAllowedError(CallerError):
    """SMS to the country of this phone number are not allowed"""

    id = "KEYTURN-CountryNotAllowed"


class RecipientSuppressedError(CallerError):
    """The address is suppressed: it bounced, complained or opted out"""

    id = "KEYTURN-Suppressed"


class CodeUnusableError(CallerError):
    """There is no such live code: it was used, replaced or voided"""

    id = "COMMAND-2M9fs"

    def __init__(self, end: str | None = None, *, language: str | None = None) -> None:
        """`end` and the reset's `language` only where the code was right once: see KnownCode."""
        super().__init__()
        self.end = end
        self.language = language


class CodeExpiredError(CallerError):
    """The code has expired"""

    id = "CODE-QvUQ4P"

    def __init__(self, *, language: str | None = None) -> None:
        """`language` is the reset's, where it is known."""
        super().__init__()
        self.language = language


class IdempotencyMismatchError(CallerError):
    """This Idempotency-Key was used for another request"""

    id = "KEYTURN-IdempotencyMismatch"


class TooManySubscriptionsError(CallerError):
    """The organisation has as many subscriptions as it may"""

    id = "KEYTURN-TooManySubscriptions"


class TooManyRequestsError(CallerError):
    """Too many requests; try again later"""

    id = "KEYTURN-RateLimited"

    def __init__(self, limit: str, *, retry_after_seconds: int) -> None:
        """`limit` names which one: cooldown, user_hour, user_day, organisation, caller, …."""
        super().__init__(f"Too many requests ({limit}); try again in {retry_after_seconds} s")
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class ProviderMissingError(CallerError):
    """No provider is configured for this channel"""

    id = "KEYTURN-NoProvider"


class StoreUnavailableError(CallerError):
    """The request could not be recorded for certain; try again, with the same Idempotency-Key"""

    id = "KEYTURN-Unavailable"


class IssuerUnavailableError(CallerError):
    """The identity provider's keys cannot be had; nothing was done, try again"""

    id = "KEYTURN-Unavailable"


class DirectoryUnavailableError(CallerError):
    """The user directory does not answer; nothing was done, try again"""

    id = "KEYTURN-Unavailable"


class InvalidRequestError(CallerError):
    """The request is invalid"""


class BodyTooLargeError(InvalidRequestError):
    """The body is larger than 64 KiB"""


class CallbackTooLargeError(BodyTooLargeError):
    """The callback is larger than 1 MiB"""


class UrlTemplateError(InvalidRequestError):
    """The url template does not parse"""

    id = "DOMAIN-oGh5e"


class UrlTemplateFieldError(InvalidRequestError):
    """The url template uses an unknown field; known are UserID, Code and OrgID"""

    id = "DOMAIN-ieYa7"


class UrlNotAllowedError(InvalidRequestError):
    """The url template leads to a host that is not allowed for the organisation"""

    id = "KEYTURN-UrlNotAllowed"


class SubscriberUrlError(InvalidRequestError):
    """Nothing may be sent to this URL: it must be https, and lead to a public address"""

    id = "KEYTURN-SubscriberUrl"


class PasswordMissingError(InvalidRequestError):
    """The password is missing"""

    id = "COMMAND-Mf0sd"


class PasswordPolicyError(InvalidRequestError):
    """The password does not comply with the policy; `rule` names what it lacks."""

    IDS: ClassVar[dict[str, str]] = {
        "length": "DOMAIN-HuJf6",
        "lower": "DOMAIN-co3Xw",
        "upper": "DOMAIN-VoaRj",
        "number": "DOMAIN-ZBv4H",
        "symbol": "DOMAIN-ZDLwA",
    }
    WORDS: ClassVar[dict[str, str]] = {
        "length": "Password is too short",
        "lower": "Password must contain a lower case letter",
        "upper": "Password must contain an upper case letter",
        "number": "Password must contain a number",
        "symbol": "Password must contain a symbol",
    }

    def __init__(self, rule: str) -> None:
        """`rule` is one of length, lower, upper, number, symbol."""
        super().__init__(self.WORDS[rule])
        self.rule = rule


class PasswordTooLongError(InvalidRequestError):
    """The password is longer than 200 characters"""


class CodeMismatchError(InvalidRequestError):
    """The code is invalid"""

    id = "CODE-woT0xc"


class PasswordMismatchError(InvalidRequestError):
    """The current password is wrong"""

    id = "COMMAND-3M0fs"


class SelectionError(InvalidRequestError):
    """The selection of the batch is empty or cannot be read; nothing was started"""

    id = "KEYTURN-Selection"


class BatchStateError(CallerError):
    """The state of the batch does not allow this"""

    id = "KEYTURN-BatchState"


class ResetStateError(CallerError):
    """The reset has come too far for this, or not far enough"""

    id = "KEYTURN-ResetState"


class BrokerAwayError(KeyturnError):
    """The broker does not answer; no reset is lost by it."""


class ProviderError(KeyturnError):
    """A provider did not take a message.

    `reason` is a stable word of ours (`http_429`, `twilio_21211`); `detail` a sentence for the
    operator in our own words. Neither repeats what the provider wrote: it may name the address.
    `is_one_route` is True where other recipients may well be reached by the same provider.
    """

    def __init__(self, reason: str, detail: str, *, is_one_route: bool = False) -> None:
        """Both texts are stored on the reset and read by operators."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.is_one_route = is_one_route


class TransientProviderError(ProviderError):
    """Surely not taken; worth another attempt, here or at the next provider."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        retry_after_seconds: float | None = None,
        is_one_route: bool = False,
    ) -> None:
        """`retry_after_seconds` is what the provider asked for, None when it did not."""
        super().__init__(reason, detail, is_one_route=is_one_route)
        self.retry_after_seconds = retry_after_seconds


class AccountProviderError(TransientProviderError):
    """Our account's trouble (key, credit, sender): keep the reset, somebody must act."""


class RefusedTogetherError(TransientProviderError):
    """Surely not taken, for it stood in one request with a message that was refused."""


class PermanentProviderError(ProviderError):
    """Surely not taken and never will be.

    `suppression` is set (`bounce`, `opt_out`, `bad_number`) where the recipient must not be
    written to again.
    """

    def __init__(self, reason: str, detail: str, *, suppression: str | None = None) -> None:
        """See the class."""
        super().__init__(reason, detail)
        self.suppression = suppression


class UnsendableError(PermanentProviderError):
    """The message itself cannot be sent by anybody; no provider was asked."""


class DoubtfulProviderError(ProviderError):
    """The whole request was written and no clear answer came back: it may have been taken."""


class ImportLineError(KeyturnError):
    """A line of a file of users cannot be taken, so nothing of the file was."""

    def __init__(self, line_number: int, problem: str) -> None:
        """`problem` never repeats an address or a password."""
        super().__init__(f"line {line_number}: {problem}; nothing was imported")
        self.line_number = line_number


class UnknownKeyError(KeyturnError):
    """The record names a signing key that KEYTURN_SECRET_KEYS no longer holds."""


class RenderError(KeyturnError):
    """A template lacks a value or a language lacks a sentence."""


__all__ = [
    "AccountProviderError",
    "AuthHeaderInvalidError",
    "AuthHeaderMissingError",
    "BatchStateError",
    "BodyTooLargeError",
    "BrokerAwayError",
    "CallbackRefusedError",
    "CallbackTooLargeError",
    "CallerError",
    "CodeExpiredError",
    "CodeMismatchError",
    "CodeUnusableError",
    "CountryNotAllowedError",
    "DirectoryUnavailableError",
    "DoubtfulProviderError",
    "IdempotencyMismatchError",
    "ImportLineError",
    "InvalidRequestError",
    "IssuerUnavailableError",
    "KeyturnError",
    "MachineUserError",
    "MembershipMissingError",
    "MethodNotAllowedError",
    "NotFoundError",
    "OrganisationUnknownError",
    "PasswordMismatchError",
    "PasswordMissingError",
    "PasswordPolicyError",
    "PasswordTooLongError",
    "PasswordUserNotInitialisedError",
    "PasswordUserUnknownError",
    "PermanentProviderError",
    "PermissionDeniedError",
    "ProviderError",
    "ProviderMissingError",
    "RecipientMissingError",
    "RecipientSuppressedError",
    "RefusedTogetherError",
    "RenderError",
    "ResetStateError",
    "ResetUserNotInitialisedError",
    "SelectionError",
    "SettingsError",
    "StoreUnavailableError",
    "SubscriberUrlError",
    "TokenInvalidError",
    "TooManyRequestsError",
    "TooManySubscriptionsError",
    "TransientProviderError",
    "UnauthenticatedError",
    "UnknownKeyError",
    "UnsendableError",
    "UrlNotAllowedError",
    "UrlTemplateError",
    "UrlTemplateFieldError",
    "UserHiddenError",
    "UserInactiveError",
    "UserNotInitialisedError",
    "UserPermissionError",
    "UserUnknownError",
]
