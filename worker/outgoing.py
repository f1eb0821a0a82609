"""A message or a part of one, with its claim and the provider that carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shared.codes import Code
from shared.models import Message, Recipient, User
from shared.providers import Provider
from shared.store.resets import Claim


class ProviderSwitch(NamedTuple):
    """A message goes out by another provider than this one."""

    before: str
    reason: str  # paused, circuit_open, asked_to_wait, or the last attempt's outcome


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message, its recipient and the provider that carries it."""

    claim: Claim
    message: Message
    recipient: Recipient
    provider: Provider[Message]
    switch: ProviderSwitch | None = None
    text_version: str = ""  # of the organisation's own texts in it


@dataclass(frozen=True, slots=True)
class BulkItem:
    """What one recipient's part of a bulk e-mail is made of, and the provider that carries it."""

    claim: Claim
    user: User
    recipient: Recipient
    code: Code
    provider: Provider[Message]
    switch: ProviderSwitch | None = None
