"""Choose the provider of a reset's next attempt, and say why it is another than before."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import structlog

from shared.errors import StoreUnavailableError
from shared.models import Channel, Message, Outcome, Queue, Reset, Status
from shared.policies import choose_provider
from shared.providers import Provider
from shared.store.due_sets import NO_PROVIDER
from shared.store.resets import Claim
from worker import outcomes
from worker.messages import ProviderSwitch
from worker.outcomes import ASKED_TO_WAIT, NotSentError
from worker.pauses import parked
from worker.provider_health import ProviderHealth

log = structlog.get_logger()

# How much later than possible those who wait look again: the person first, and not all at once.
SPREAD_SECONDS = {Queue.URGENT: (0.05, 1.0), Queue.BULK: (2.0, 10.0)}
# A person's reset looks again so soon: meanwhile an operator may have let a provider be tried.
MAX_WAIT_SECONDS = {Queue.URGENT: 15.0, Queue.BULK: 120.0}


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider of an attempt; `switch` if it is another than the last, or than the wanted."""

    provider: Provider[Message]
    switch: ProviderSwitch | None = None


class ProviderRouter:
    """Chooses among the providers of each channel."""

    def __init__(
        self, providers: Mapping[Channel, Sequence[Provider[Message]]], health: ProviderHealth
    ) -> None:
        """`providers` in the operator's order."""
        self._providers, self._health = providers, health

    def choose(self, claim: Claim) -> Choice:
        """Return the provider of the next attempt.

        An attempt in doubt stays with its provider; `admit` says whether that may be called.

        Raises:
            NotSentError: none can be called now.
        """
        reset = claim.reset
        providers = {provider.name: provider for provider in self._providers[reset.channel]}
        if not providers:
            raise NotSentError(outcomes.ended(Status.FAILED, "no_provider"))
        wanted = self._wanted(reset, tuple(providers))
        if claim.is_doubtful:
            return Choice(providers[wanted])
        name = self._available(claim, wanted, tuple(providers))
        switch = self._switch(reset, wanted, name)
        if switch:
            log.warning("provider.failed_over", provider=name, last=switch.before,
                        reason=switch.reason)  # fmt: skip
            self._health.note_switch(switch.before, name, switch.reason)
        return Choice(providers[name], switch)

    def admit(self, claim: Claim, name: str) -> None:
        """Raise NotSentError unless this provider may be called now; the reset waits for it."""
        if self._health.is_paused(name):
            raise NotSentError(parked(claim, NO_PROVIDER))
        seconds = self._health.admit(name, claim.reset.reset_id)
        if seconds:
            raise _circuit_open(claim, seconds)

    def has_another(self, reset: Reset, name: str) -> bool:
        """Return True if a provider can be called that this run of account errors did not meet."""
        run = takewhile(lambda each: each.outcome is Outcome.ACCOUNT, reversed(reset.attempts))
        met = {name, *(attempt.provider for attempt in run)}
        try:
            return any(
                other.name not in met
                and not self._health.is_paused(other.name)
                and not self._health.is_open(other.name)
                for other in self._providers[reset.channel]
            )
        except StoreUnavailableError:
            return False

    def _wanted(self, reset: Reset, names: tuple[str, ...]) -> str:
        moves_on = reset.reason == ASKED_TO_WAIT
        return choose_provider(names, reset.channel, reset.attempts, moves_on=moves_on)

    def _available(self, claim: Claim, wanted: str, names: tuple[str, ...]) -> str:
        """Return the wanted provider, else the next that is not paused and whose circuit admits."""
        start = names.index(wanted)
        waits = []
        for name in (*names[start:], *names[:start]):
            if self._health.is_paused(name):
                continue
            seconds = self._health.admit(name, claim.reset.reset_id)
            if not seconds:
                return name
            waits.append(seconds)
        if not waits:
            raise NotSentError(parked(claim, NO_PROVIDER))
        raise _circuit_open(claim, min(waits))

    def _switch(self, reset: Reset, wanted: str, name: str) -> ProviderSwitch | None:
        last = reset.attempts[-1] if reset.attempts else None
        if name != wanted:
            reason = "paused" if self._health.is_paused(wanted) else "circuit_open"
            return ProviderSwitch(before=wanted, reason=reason)
        if last is None or last.provider == name:
            return None
        outcome = last.outcome.value if last.outcome else "unknown"
        reason = ASKED_TO_WAIT if reset.reason == ASKED_TO_WAIT else outcome
        return ProviderSwitch(before=last.provider, reason=reason)


def _circuit_open(claim: Claim, seconds: float) -> NotSentError:
    """The reset is looked at again once a circuit may admit it."""
    least, most = SPREAD_SECONDS[claim.reset.queue]
    seconds = min(seconds, MAX_WAIT_SECONDS[claim.reset.queue]) + random.uniform(least, most)
    return NotSentError(outcomes.later(claim, "circuit_open", seconds))
