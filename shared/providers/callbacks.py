"""Providers' calls back: what each reader promises, and which of them can be verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import KeyturnError
from shared.models import CallbackEvent


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's call as it arrived."""

    headers: Mapping[str, str]  # names in lower case
    query: str  # as it stood behind the question mark
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What a genuine callback says: events about our resets, and how much else, by why."""

    events: tuple[CallbackEvent, ...] = ()
    passed_over: Counter[str] = field(default_factory=Counter)  # foreign, ignored, unread


class CallbackForgedError(KeyturnError):
    """Nothing proves that the provider made this call; `reason` says what is missing."""

    def __init__(self, reason: str) -> None:
        """`reason` is a word of ours."""
        super().__init__(reason)
        self.reason = reason


class CallbackReader(Protocol):
    """Verifies and reads the callbacks of one provider."""

    def read(self, callback: Callback) -> Told:
        """What it says.

        Raises:
            CallbackForgedError: its signature is missing or wrong, or no key was configured.
        """


FOREIGN = "foreign"  # about a message that carries no id of ours
IGNORED = "ignored"  # known words that say nothing of a message's way
UNREAD = "unread"  # words we do not know
