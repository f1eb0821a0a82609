"""The contract of a callback reader: a provider's request in, events out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import KeyturnError
from shared.models import CallbackEvent
from shared.settings import HTTP_PROVIDERS, Settings

TWILIO_PATH = "/callbacks/twilio"
# Why a part of a genuine callback is skipped.
FOREIGN = "foreign"  # about a message that carries no id of ours
IGNORED = "ignored"  # known events that say nothing about delivery
UNREAD = "unread"  # unknown events


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's request as it arrived."""

    headers: Mapping[str, str]  # names in lower case
    query: str  # without the question mark
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ParsedCallback:
    """A genuine callback: events about our resets, and how many others were skipped, by reason."""

    events: tuple[CallbackEvent, ...] = ()
    skipped: Counter[str] = field(default_factory=Counter)  # foreign, ignored, unread


class CallbackForgedError(KeyturnError):
    """The callback's signature is missing or wrong; `reason` says which."""

    def __init__(self, reason: str) -> None:
        """`reason` is a word of ours."""
        super().__init__(reason)
        self.reason = reason


class CallbackReader(Protocol):
    """Verifies and parses the callbacks of one provider."""

    def read(self, callback: Callback) -> ParsedCallback:
        """Verify and parse a callback.

        Raises:
            CallbackForgedError: its signature is missing or wrong, or no key was configured.
        """


def safe_word(word: object) -> str:
    """Return a provider's word if it may stand in a log (letters and underscores), else `?`."""
    is_word = isinstance(word, str) and word.replace("_", "").isalpha() and word.isascii()
    return word[:40] if is_word else "?"  # type: ignore[index]


def has_callbacks(settings: Settings, provider: str) -> bool:
    """Return whether a provider sends callbacks that we can verify."""
    if provider == "sendgrid":
        return bool(settings.sendgrid_webhook_public_key)
    if provider in HTTP_PROVIDERS:
        return False  # a gateway may report or not
    return any(a.provider == provider and a.auth_token for a in settings.twilio_accounts)
