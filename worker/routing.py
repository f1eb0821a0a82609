"""Choose the provider of a reset by order, pauses and circuits; keep the health of providers.

A good outcome costs no trip to Redis: the sweeper sends those gathered here about once a second,
and reads everything back. A bad one is sent at once, with the good ones so far: alone it would look
like an outage after every start. All of it is advice: while Redis does not answer, every circuit
counts as closed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from threading import Lock

import structlog
from cachetools import LRUCache, TTLCache, cached

from shared.errors import (
    AccountProviderError,
    PermanentProviderError,
    ProviderError,
    RefusedTogetherError,
    RouteUnfitError,
    StoreUnavailableError,
    UnsendableError,
)
from shared.models import (
    BulkEmail,
    Channel,
    Email,
    Message,
    Outcome,
    Queue,
    Reset,
    Sms,
    Status,
)
from shared.organisations.profile import Profile
from shared.organisations.providers import OwnProviders
from shared.organisations.sender import OWN
from shared.policies import choose_provider, route_of
from shared.providers import Provider
from shared.settings import Settings
from shared.store.admin.circuits import CallTally, Circuit, CircuitState, CircuitStore
from shared.store.admin.pauses import Pause, PauseStore, Scope
from shared.store.due_sets import PROVIDER_PAUSED
from shared.store.resets import Claim
from worker import outcomes
from worker.outcomes import ASKED_TO_WAIT, NotSentError
from worker.outgoing import ProviderSwitch

log = structlog.get_logger()

VIEW_SECONDS = 1.0  # how late a pause is noticed
REFRESH_SECONDS = 0.9  # the sweeper's pace is shorter
STALE_SECONDS = 10.0  # a circuit read longer ago counts as closed
MAX_OWN = 256  # circuits of organisations' own providers that one process watches
OWN_SECONDS = 60.0  # since one was asked for
PROBE_BUSY_SECONDS = 0.5  # another worker's probe is under way: look again soon
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
        self,
        providers: Mapping[Channel, Sequence[Provider[Message]]],
        health: ProviderHealth,
        own: OwnProviders,
        find_profile: Callable[[str], Profile | None],
    ) -> None:
        """`providers` of the installation, in its order; `own` of the organisations."""
        self._providers, self._health, self._own = providers, health, own
        self.find_profile = find_profile

    def choose(self, claim: Claim) -> Choice:
        """Return the provider of the next attempt.

        An attempt in doubt stays with its provider; `admit` says whether that may be called. An
        account that its organisation removed holds the message until a report or the deadline.

        Raises:
            NotSentError: none can be called now.
        """
        reset = claim.reset
        providers = {each.name: each for each in self._fit(reset)}
        last = reset.attempts[-1].provider if claim.is_doubtful else ""
        if last.startswith(OWN) and last not in providers:  # it may have it, and was removed
            raise NotSentError(outcomes.held(claim))
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
            raise NotSentError(outcomes.parked(claim, PROVIDER_PAUSED))
        seconds = self._health.admit(name, claim.reset.reset_id)
        if seconds:
            raise _circuit_open(claim, seconds)

    def has_another(self, reset: Reset, name: str, error: ProviderError) -> bool:
        """Return True if a provider can be called that this run of account errors did not meet.

        If this one is unfit for the message, a provider that is paused or left alone counts too.
        """
        run = takewhile(lambda each: each.outcome is Outcome.ACCOUNT, reversed(reset.attempts))
        met = {name, *(attempt.provider for attempt in run)}
        try:
            if isinstance(error, RouteUnfitError):
                return any(other.name != name for other in self._fit(reset))
            return any(
                other.name not in met
                and not self._health.is_paused(other.name)
                and not self._health.is_open(other.name)
                for other in self._fit(reset)
            )
        except StoreUnavailableError:
            return False

    def _fit(self, reset: Reset) -> list[Provider[Message]]:
        """Return the channel's providers but for those that cannot carry this message."""
        unfit = {each.provider for each in reset.attempts if each.outcome is Outcome.PERMANENT}
        profile = self.find_profile(reset.org_id)
        route = route_of(profile, reset.channel)
        carriers = list(self._providers[reset.channel])
        if route:
            own = self._own.of(reset.org_id, reset.channel, route)
            carriers = [*own, *carriers] if route.has_fallback else own
        return [each for each in carriers if each.name not in unfit]

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
            raise NotSentError(outcomes.parked(claim, PROVIDER_PAUSED))
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


def blames_from(
    name: str, error: ProviderError, message: Email | BulkEmail | Sms, settings: Settings
) -> bool:
    """Return True if the installation's account may have refused an organisation's own From.

    That says nothing about the account, and must not stop the mails of others.
    """
    return (
        isinstance(error, AccountProviderError)
        and not name.startswith(OWN)
        and not isinstance(message, Sms)
        and message.from_address != settings.email_from
    )


def _circuit_open(claim: Claim, seconds: float) -> NotSentError:
    """Look at the reset again once a circuit may admit it."""
    least, most = SPREAD_SECONDS[claim.reset.queue]
    seconds = min(seconds, MAX_WAIT_SECONDS[claim.reset.queue]) + random.uniform(least, most)
    return NotSentError(outcomes.later(claim, "circuit_open", seconds))


@dataclass(frozen=True, slots=True)
class _CircuitView:
    """A circuit, and when it was read by this machine's monotonic clock."""

    circuit: Circuit
    read_at: float


class ProviderHealth:
    """This process's view of the providers; any number of threads may share it."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        circuits: CircuitStore,
        pauses: PauseView,
        probe_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`probe_seconds` is how long a probe may take before another is admitted."""
        self._names = tuple(names)
        self._circuits, self._pauses = circuits, pauses
        self._probe_seconds, self._clock = probe_seconds, clock
        self._views: dict[str, _CircuitView] = {}
        self._lock = threading.Lock()
        self._good: Counter[str] = Counter()
        self._switches: dict[str, tuple[str, str]] = {}
        self._probes: dict[str, str] = {}  # reset → the provider it tries
        self._tallies: dict[str, tuple[str, CallTally]] = {}  # reset → sent when it is concluded
        self._own: LRUCache[str, float] = LRUCache(MAX_OWN)  # organisations' own → last asked for
        self._refreshed_at = float("-inf")

    def refresh(self) -> None:
        """Send what was gathered and read everything back, about once a second.

        Raises:
            StoreUnavailableError: Redis does not answer; what was gathered is lost.
        """
        if self._clock() - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = self._clock()
        with self._lock:
            good, self._good = self._good, Counter()
            switches, self._switches = self._switches, {}
            lately = self._refreshed_at - OWN_SECONDS
            own = [name for name, asked_at in self._own.items() if asked_at > lately]
        names = (*self._names, *own)
        tallies = {
            name: CallTally(good=good[name], switch=switches.get(name, ("", "")))
            for name in names
            if name in good or name in switches
        }
        for circuit in self._circuits.record_all(tallies).values():
            self._keep(circuit)
        others = [name for name in names if name not in tallies]
        for circuit in self._circuits.read(others).values():
            self._keep(circuit)

    def is_paused(self, name: str) -> bool:
        """Return True if an operator has paused this provider.

        Raises:
            StoreUnavailableError: it cannot be known.
        """
        return any(p.scope is Scope.PROVIDER and p.name == name for p in self._pauses.all())

    def is_open(self, name: str) -> bool:
        """Return True if the provider's circuit is not closed, as far as is known here."""
        view = self._fresh(name)
        return view is not None and view.circuit.state is not CircuitState.CLOSED

    def admit(self, name: str, reset_id: str) -> float:
        """Return 0 if the provider may be called for this reset now, else when to ask, in seconds.

        If the circuit is half open the reset becomes its probe, until `conclude`.
        """
        view = self._fresh(name)
        if name.startswith(OWN):
            with self._lock:
                self._own[name] = self._clock()
        if view is None or view.circuit.state is CircuitState.CLOSED:
            return 0.0
        left = view.circuit.wait_seconds - (self._clock() - view.read_at)
        if view.circuit.state is CircuitState.OPEN and left > 0:
            return left
        try:
            is_granted, circuit = self._circuits.take_probe(
                name, reset_id, lease_seconds=self._probe_seconds
            )
        except StoreUnavailableError:
            return 0.0
        self._keep(circuit)
        if is_granted:
            self._probes[reset_id] = name
        if is_granted or circuit.state is CircuitState.CLOSED:
            return 0.0
        return circuit.wait_seconds if circuit.state is CircuitState.OPEN else PROBE_BUSY_SECONDS

    def note_switch(self, name: str, to: str, reason: str) -> None:
        """Note that a message goes out by another provider than this one."""
        with self._lock:
            self._switches[name] = (to, reason)

    def note_good(self, name: str, reset_id: str) -> None:
        """Note that the provider took a message."""
        if reset_id in self._probes:
            self._tallies[reset_id] = (name, CallTally(good=1, holder=reset_id))
            return
        with self._lock:
            self._good[name] += 1

    def note_failure(self, name: str, reset_id: str, error: ProviderError) -> None:
        """Note that the provider did not take a message.

        An error about one recipient or one message shows that the provider itself is well.
        """
        if isinstance(error, UnsendableError | RefusedTogetherError):
            return
        is_account = isinstance(error, AccountProviderError)
        if isinstance(error, PermanentProviderError) or (error.is_one_route and not is_account):
            self.note_good(name, reset_id)
            return
        tally = CallTally(
            bad=1,
            account=int(is_account),
            is_outage=is_account and not error.is_one_route,
            holder=reset_id if reset_id in self._probes else "",
            reason=error.reason,
        )
        self._tallies[reset_id] = (name, tally)

    def conclude(self, reset_id: str) -> None:
        """Report a failure and release the probe, once the attempt is recorded."""
        probed, noted = self._probes.pop(reset_id, None), self._tallies.pop(reset_id, None)
        try:
            if noted is not None:
                name, tally = noted
                with self._lock:
                    good = tally.good + self._good.pop(name, 0)
                circuit = self._circuits.record(name, replace(tally, good=good))
                self._keep(circuit, is_account=bool(tally.account))
            elif probed is not None:
                self._circuits.release_probe(probed, reset_id)
        except StoreUnavailableError:
            log.info("store.unavailable", during="circuit")

    def _fresh(self, name: str) -> _CircuitView | None:
        view = self._views.get(name)
        return view if view and self._clock() - view.read_at < STALE_SECONDS else None

    def _keep(self, circuit: Circuit, *, is_account: bool = False) -> None:
        self._views[circuit.provider] = _CircuitView(circuit, self._clock())
        if circuit.has_changed and circuit.state is CircuitState.OPEN:
            log_as = log.error if is_account else log.warning  # our account needs an operator
            log_as("circuit.opened", provider=circuit.provider, reason=circuit.reason,
                seconds=round(circuit.wait_seconds, 1))  # fmt: skip
        elif circuit.has_changed:
            log.warning("circuit.closed", provider=circuit.provider)


class OwnCalls:
    """Bounds how many threads call one organisation's account, so that a slow one holds few."""

    def __init__(self, threads: int) -> None:
        """`threads` of this process; one account gets a quarter of them."""
        self._most, self._lock = max(1, threads // 4), Lock()
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, claim: Claim, name: str) -> Iterator[None]:
        """Raise NotSentError if an organisation's account has enough calls; it waits a moment."""
        if not name.startswith(OWN):
            yield
            return
        with self._lock:
            if self._under_way[name] >= self._most:
                seconds = random.uniform(*SPREAD_SECONDS[claim.reset.queue])
                raise NotSentError(outcomes.later(claim, "provider_busy", seconds))
            self._under_way[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= Counter((name,))  # drops what is 0


class PauseView:
    """The pauses in force, at most a second old."""

    def __init__(self, pauses: PauseStore, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds and never goes back."""
        cache: TTLCache[Hashable, tuple[Pause, ...]] = TTLCache(1, VIEW_SECONDS, timer=clock)
        # Raises StoreUnavailableError if they cannot be read.
        self.all = cached(cache, lock=Lock())(lambda: tuple(pauses.all()))

    def check(self, claim: Claim) -> None:
        """Raise NotSentError if the reset's queue, channel or organisation is paused.

        Raises:
            StoreUnavailableError: the pauses cannot be read.
        """
        for pause in self.all():
            if pause.covers(claim.reset):
                raise NotSentError(outcomes.parked(claim, f"paused_{pause.scope}"))
