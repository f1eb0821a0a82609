"""What is ours to handle: providers, keys, templates, files."""

from __future__ import annotations

from shared.errors.roots import KeyturnError


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
