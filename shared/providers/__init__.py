"""The contracts of a provider: send, find, send in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from shared.errors import ProviderError
from shared.models import BulkEmail, Channel, Message, Receipt

MessageT_contra = TypeVar("MessageT_contra", bound=Message, contravariant=True)
BulkOutcome: TypeAlias = Receipt | ProviderError


class Provider(Protocol[MessageT_contra]):
    """Sends one message."""

    name: str
    channel: Channel

    def send(self, message: MessageT_contra) -> Receipt:
        """Send the message once, within the provider timeout, without retries.

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
        """Return the receipt of this very message, or None if the provider did not take it.

        Raises:
            TransientProviderError: the provider could not be asked.
        """


@runtime_checkable
class BulkProvider(Protocol):
    """A provider that takes one mail for many recipients in one request."""

    max_recipients: int  # in one request

    def send_bulk(self, email: BulkEmail) -> Sequence[BulkOutcome]:
        """Send a bulk e-mail in one request, within the provider timeout, without retries.

        Returns one outcome per recipient, in their order; raises nothing. RefusedTogetherError
        means: surely not taken, but the recipient may succeed alone, for another one in the
        request was refused, or the two cannot stand in one request.
        """
