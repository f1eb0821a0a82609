"""What is wrong with a request itself: its body, its template, its code, its password."""

from __future__ import annotations

from typing import ClassVar

from shared.errors.callers import CallerError


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
