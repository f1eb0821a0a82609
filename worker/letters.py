"""What delivery works with: who renders, and a message ready to go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shared.codes import Code
from shared.models import Email, Message, Organisation, Recipient, Reset, User
from shared.providers import Provider


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


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, whom it goes to and who carries it."""

    message: Message
    recipient: Recipient
    provider: Provider[Message]
