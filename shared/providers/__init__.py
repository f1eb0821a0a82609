"""The companies that carry messages: one file each, one verb."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from shared.models import Channel, Message, Receipt

MessageT_contra = TypeVar("MessageT_contra", bound=Message, contravariant=True)


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


@runtime_checkable
class SearchableProvider(Protocol[MessageT_contra]):
    """A provider that can be asked whether it has a message."""

    def find(self, message: MessageT_contra) -> Receipt | None:
        """The receipt of this very message, if the provider took it.

        Raises:
            TransientProviderError: the provider could not be asked.
        """
