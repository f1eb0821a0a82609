"""What delivery works with: who renders, and messages on their way to being ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shared.circulars import Circular
from shared.codes import Code
from shared.models import Email, Message, Organisation, Recipient, Reset, User
from shared.providers import Provider
from shared.store.claims import Claim


class Renderer(Protocol):
    """Turns a reset into a message."""

    def render_reset(
        self,
        reset: Reset,
        user: User,
        recipient: Recipient,
        organisation: Organisation | None,
        code: Code,
        *,
        seconds_left: float,
    ) -> Message:
        """The message with the code."""

    def render_notice(
        self, reset: Reset, user: User, recipient: Recipient, organisation: Organisation | None
    ) -> Email:
        """The mail that tells of a changed password."""


class ProviderSwitch(NamedTuple):
    """A message goes out by another provider than this one."""

    before: str
    reason: str  # paused, circuit_open, asked_to_wait, or the last attempt's outcome


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, whom it goes to and who carries it."""

    message: Message
    recipient: Recipient
    provider: Provider[Message]
    switch: ProviderSwitch | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a copy of a circular is made of, and who carries it."""

    claim: Claim
    user: User
    recipient: Recipient
    code: Code
    provider: Provider[Message]
    switch: ProviderSwitch | None = None


class Circulars(Protocol):
    """Turns drafts that share language and organisation into one mail for many."""

    def language(self, reset: Reset) -> str:
        """The language a reset's mail is written in."""

    def render(
        self, language: str, organisation: Organisation | None, drafts: Sequence[Draft]
    ) -> Circular:
        """The mail, with a copy for each draft in their order."""
