"""One mail for many: what all share is said once, each copy has its own values; in memory only.

Where a copy's own value goes, subject and parts hold a marker that the provider replaces. Providers
may read what they put in again, so markers are words nobody can guess: made anew for each circular.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared.models import Recipient, ResetId

NONCE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Copy:
    """What one recipient of a circular gets of their own."""

    reset_id: ResetId
    recipient: Recipient
    message_id: str  # with angle brackets; the same on every attempt
    values: Mapping[str, str] = field(repr=False)  # marker → what stands in its place


@dataclass(frozen=True, slots=True)
class Circular:
    """A rendered mail with markers, and its copies."""

    from_address: str
    from_name: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    language: str
    copies: tuple[Copy, ...]

    def of(self, copies: tuple[Copy, ...]) -> Circular:
        """The same mail for these alone."""
        return replace(self, copies=copies)


def make_nonce() -> str:
    """The part of a circular's markers that nobody can guess."""
    return secrets.token_hex(NONCE_BYTES)


def spell_marker(nonce: str, name: str) -> str:
    """A marker; its signs mean nothing in HTML and stay as they are when they are escaped."""
    return f"-{nonce}.{name}-"
