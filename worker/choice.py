"""Which provider carries the next attempt of a reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from shared.models import Channel, Message, Status
from shared.policies import choose_provider
from shared.providers import Provider
from shared.store.claims import Claim
from worker import verdicts
from worker.verdicts import SettledError

log = structlog.get_logger()


class ProviderChoice:
    """Chooses among the providers of each channel."""

    def __init__(self, providers: Mapping[Channel, Sequence[Provider[Message]]]) -> None:
        """`providers` in the operator's order."""
        self._providers = providers

    def count(self, channel: Channel) -> int:
        """How many providers a channel has."""
        return len(self._providers[channel])

    def choose(self, claim: Claim) -> Provider[Message]:
        """The provider of the next attempt.

        Raises:
            SettledError: there is none to be had now.
        """
        reset = claim.reset
        providers = {provider.name: provider for provider in self._providers[reset.channel]}
        if not providers:
            raise SettledError(verdicts.ended(Status.FAILED, "no_provider"))
        name = choose_provider(tuple(providers), reset.channel, reset.attempts)
        if reset.attempts and reset.attempts[-1].provider != name:
            log.warning("provider.failed_over", provider=name, last=reset.attempts[-1].provider)
        return providers[name]
