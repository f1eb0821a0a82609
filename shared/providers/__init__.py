"""The companies that carry messages: one file each, one verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from shared.errors import ProviderError
from shared.models import Channel, Circular, Message, Receipt

MessageT_contra = TypeVar("MessageT_contra", bound=Message, contravariant=True)
CopyOutcome: TypeAlias = Receipt | ProviderError


class Provider(Protocol[MessageT_contra]):
    """Hands one message over."""

    name: str
    channel: Channel

    def send(self, message: MessageT_contra) -> Receipt:
        """Hand the message over, once, within the provider timeout; never repeats by itself.

        Raises:
            TransientProviderError: surely not taken (AccountProviderError: our account's trouble).
            PermanentProviderError: surely not taken, and never will be.
            DoubtfulProviderError: written in full, and no clear answer came back.
        """

    def close(self) -> None:
        """Close the connections it keeps for the next message."""


@runtime_checkable
class SearchableProvider(Protocol[MessageT_contra]):
    """A provider that can be asked whether it has a message."""

    def find(self, message: MessageT_contra) -> Receipt | None:
        """The receipt of this very message, if the provider took it.

        Raises:
            TransientProviderError: the provider could not be asked.
        """


@runtime_checkable
class ManyProvider(Protocol):
    """A provider that takes one mail for many recipients in one request."""

    max_copies: int  # in one request

    def send_many(self, circular: Circular) -> Sequence[CopyOutcome]:
        """Hand a circular over in one request, within the provider timeout.

        What became of each copy, in their order; nothing is raised and nothing repeated. A
        RefusedTogetherError says of a copy that it was surely not taken, but may be without the
        others: a copy beside it was refused, or it cannot stand in one request with them.
        """
