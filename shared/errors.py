"""Every error; the docstring of a CallerError is the message to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime

    from shared.passwords.policy import PasswordPolicy


class SettingsError(Exception):
    """A setting is missing or wrong; the text is the remedy."""

    EXIT_STATUS = 78  # EX_CONFIG of sysexits.h: starting again changes nothing


class KeyturnError(Exception):
    """The root of all errors that Keyturn raises at run time."""


class CallerError(KeyturnError):
    """An error for the caller; the message is the class's docstring unless one is given."""

    id: ClassVar[str | None] = None

    def __init__(self, message: str | None = None) -> None:
        """`message` goes to the caller: no address, no code, no token."""
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        """Return the text for the caller."""
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


class LineTypeError(CallerError):
    """This kind of phone number takes no SMS: it is no person's mobile number"""

    id = "KEYTURN-LineType"


class SmsSuspiciousError(CallerError):
    """SMS to such phone numbers are stopped for now; ask by e-mail where there is an address"""

    id = "KEYTURN-SmsSuspicious"

    def __init__(self, rule: str, about: str, *, until: datetime | None) -> None:
        """`rule` stopped `about`, a prefix or a source, until then; None: until it is lifted."""
        super().__init__()
        self.rule, self.about, self.until = rule, about, until
        self.has_email = False  # the user has a verified one


class RecipientSuppressedError(CallerError):
    """The address is suppressed: it bounced, complained or opted out"""

    id = "KEYTURN-Suppressed"


class CodeUnusableError(CallerError):
    """There is no such live code: it was used, replaced or voided"""

    id = "COMMAND-2M9fs"

    def __init__(self, end: str | None = None, *, language: str | None = None) -> None:
        """`end` and the reset's `language` are set only for a former code: see KnownCode."""
        super().__init__()
        self.end = end
        self.language = language


class CodeExpiredError(CallerError):
    """The code has expired"""

    id = "CODE-QvUQ4P"

    def __init__(self, *, language: str | None = None) -> None:
        """`language` is the reset's, if it is known."""
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
        """`limit` is its name: cooldown, user_hour, user_day, organisation, caller, …."""
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


class CaptchaUnavailableError(CallerError):
    """The captcha cannot be checked just now; nothing was done, try again"""

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


class IdentifierError(InvalidRequestError):
    """The identifier, or the id of the organisation, is malformed"""

    id = "KEYTURN-Identifier"


class CaptchaError(InvalidRequestError):
    """The captcha is missing or wrong; solve another one"""

    id = "KEYTURN-Captcha"


class SubscriberUrlError(InvalidRequestError):
    """The URL is refused: it must be https, and lead to a public address"""

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
        "guessable": "KEYTURN-PasswordGuessable",
        "application": "KEYTURN-PasswordRefused",
    }
    MESSAGES: ClassVar[dict[str, str]] = {
        "length": "Password is too short",
        "lower": "Password must contain a lower case letter",
        "upper": "Password must contain an upper case letter",
        "number": "Password must contain a number",
        "symbol": "Password must contain a symbol",
        "guessable": "Password is common or easy to guess",
        "application": "Password is refused by the application it is for",
    }

    def __init__(self, rule: str, *, policy: PasswordPolicy | None = None) -> None:
        """`rule` is one of length, lower, upper, number, symbol, guessable, application."""
        super().__init__(self.MESSAGES[rule])
        self.rule = rule
        self.policy = policy


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


class ProfileError(InvalidRequestError):
    """The branding or the texts cannot be used as they are; nothing was saved"""

    id = "KEYTURN-Profile"


class BatchStateError(CallerError):
    """The state of the batch does not allow this"""

    id = "KEYTURN-BatchState"


class VersionConflictError(CallerError):
    """It was changed meanwhile; read it again, and repeat the change with its new ETag"""

    id = "KEYTURN-VersionConflict"


class VersionMissingError(CallerError):
    """It exists already; repeat the change with the header If-Match and the ETag of the last GET"""

    id = "KEYTURN-VersionMissing"


class ResetStateError(CallerError):
    """The reset has come too far for this, or not far enough"""

    id = "KEYTURN-ResetState"


class ErasingError(CallerError):
    """The same is being erased at this moment; ask again in a minute"""

    id = "KEYTURN-Erasing"


class OrganisationInUseError(CallerError):
    """The organisation still has users"""

    id = "KEYTURN-OrganisationInUse"


class UserChangedError(KeyturnError):
    """The user is no longer as the password's change requires; it was not changed."""


class BrokerAwayError(KeyturnError):
    """The broker does not answer; no reset is lost."""


class ProviderError(KeyturnError):
    """A provider did not take a message.

    `reason` is a stable id of ours (`http_429`, `twilio_21211`), `detail` a sentence of ours for
    the operator. Neither repeats the provider's text, which may contain the address.
    `is_one_route` is True if the same provider may well reach other recipients.
    """

    def __init__(self, reason: str, detail: str, *, is_one_route: bool = False) -> None:
        """Both texts are stored on the reset and read by operators."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.is_one_route = is_one_route


class TransientProviderError(ProviderError):
    """The provider did not take the message; another attempt, or another provider, may succeed."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        retry_after_seconds: float | None = None,
        is_one_route: bool = False,
    ) -> None:
        """`retry_after_seconds` is the provider's Retry-After, or None."""
        super().__init__(reason, detail, is_one_route=is_one_route)
        self.retry_after_seconds = retry_after_seconds


class AccountProviderError(TransientProviderError):
    """Our account was refused (key, credit, sender): keep the reset; an operator must act."""


class RefusedTogetherError(TransientProviderError):
    """The provider did not take the message, because another in the same request was refused."""


class PermanentProviderError(ProviderError):
    """The provider refused the message permanently.

    `suppression` is set (`bounce`, `opt_out`, `bad_number`) if the recipient must be suppressed.
    """

    def __init__(self, reason: str, detail: str, *, suppression: str | None = None) -> None:
        """`suppression` is its reason, or None."""
        super().__init__(reason, detail)
        self.suppression = suppression


class RouteUnfitError(PermanentProviderError):
    """This provider cannot carry the message, whoever it is for; another provider may."""


class UnsendableError(PermanentProviderError):
    """No provider can send this message; none was called."""


class DoubtfulProviderError(ProviderError):
    """The request was sent completely without a clear response: it may have been taken."""


class ImportLineError(KeyturnError):
    """A line of a file of users is invalid, so nothing was imported."""

    def __init__(self, line_number: int, problem: str) -> None:
        """`problem` contains no address and no password."""
        super().__init__(f"line {line_number}: {problem}; nothing was imported")
        self.line_number = line_number


class UnknownKeyError(KeyturnError):
    """The record names a signing key that KEYTURN_SECRET_KEYS no longer contains."""


class RenderError(KeyturnError):
    """A value is missing for a template, or a sentence in a language."""
