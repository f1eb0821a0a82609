"""What callers are told: who they are, what they may, how users and limits stand."""

from __future__ import annotations

from typing import ClassVar

from shared.errors.roots import KeyturnError


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
