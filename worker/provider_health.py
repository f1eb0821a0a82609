"""What this worker process knows of the providers: circuits and pauses; and what it tells.

In good times an attempt costs no trip to Redis: good outcomes are gathered here and told about
once a second by the sweeper, which reads everything back. Bad ones are told at once, with the good
ones so far: told alone they would look like an outage after every start. All of it is advice: while
Redis cannot answer, every circuit counts as closed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from shared.errors import (
    AccountProviderError,
    PermanentProviderError,
    ProviderError,
    RefusedTogetherError,
    StoreUnavailableError,
    UnsendableError,
)
from shared.store.admin.circuits import CallTally, Circuit, CircuitState, CircuitStore
from shared.store.admin.pauses import Scope
from worker.pauses import PauseView

log = structlog.get_logger()

REFRESH_SECONDS = 0.9  # the sweeper's pace is shorter
STALE_SECONDS = 10.0  # what was read longer ago is no advice any more
PROBE_BUSY_SECONDS = 0.5  # somebody tries the provider right now: look again soon


@dataclass(frozen=True, slots=True)
class _Seen:
    """A circuit, and when it was read by this machine's monotonic clock."""

    circuit: Circuit
    at: float


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
        """`probe_seconds` is how long a probe may take before another is let through."""
        self._names = tuple(names)
        self._circuits, self._pauses = circuits, pauses
        self._probe_seconds, self._clock = probe_seconds, clock
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()
        self._good: Counter[str] = Counter()
        self._switches: dict[str, tuple[str, str]] = {}
        self._probes: dict[str, str] = {}  # reset → the provider it tries
        self._failures: dict[
            str, tuple[str, CallTally]
        ] = {}  # reset → what is told when it is noted
        self._refreshed_at = float("-inf")

    def refresh(self) -> None:
        """Tell what was gathered and read everything back, about once a second.

        Raises:
            StoreUnavailableError: Redis does not answer; what was gathered is lost.
        """
        if self._clock() - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = self._clock()
        with self._lock:
            good, self._good = self._good, Counter()
            switches, self._switches = self._switches, {}
        told = {
            name: CallTally(good=good[name], switch=switches.get(name, ("", "")))
            for name in self._names
            if name in good or name in switches
        }
        for circuit in self._circuits.record_all(told).values():
            self._take_note(circuit)
        for circuit in self._circuits.read(n for n in self._names if n not in told).values():
            self._take_note(circuit)

    def is_paused(self, name: str) -> bool:
        """True when an operator has stopped this provider.

        Raises:
            StoreUnavailableError: nobody can say.
        """
        return any(p.scope is Scope.PROVIDER and p.name == name for p in self._pauses.all())

    def is_open(self, name: str) -> bool:
        """True when the provider is not called freely now, as far as is known here."""
        seen = self._fresh(name)
        return seen is not None and seen.circuit.state is not CircuitState.CLOSED

    def admit(self, name: str, reset_id: str) -> float:
        """0 when this reset may be handed to the provider now, else in how many seconds to ask.

        Where the circuit is half open the reset becomes the probe; `conclude` ends that.
        """
        seen = self._fresh(name)
        if seen is None or seen.circuit.state is CircuitState.CLOSED:
            return 0.0
        left = seen.circuit.wait_seconds - (self._clock() - seen.at)
        if seen.circuit.state is CircuitState.OPEN and left > 0:
            return left
        try:
            is_granted, circuit = self._circuits.take_probe(
                name, reset_id, lease_seconds=self._probe_seconds
            )
        except StoreUnavailableError:
            return 0.0
        self._take_note(circuit)
        if is_granted:
            self._probes[reset_id] = name
        if is_granted or circuit.state is CircuitState.CLOSED:
            return 0.0
        return circuit.wait_seconds if circuit.state is CircuitState.OPEN else PROBE_BUSY_SECONDS

    def note_switch(self, name: str, to: str, reason: str) -> None:
        """A message goes out by another provider than this one."""
        with self._lock:
            self._switches[name] = (to, reason)

    def note_good(self, name: str, reset_id: str) -> None:
        """The provider did its work."""
        if reset_id in self._probes:
            self._failures[reset_id] = (name, CallTally(good=1, holder=reset_id))
            return
        with self._lock:
            self._good[name] += 1

    def note_failure(self, name: str, reset_id: str, error: ProviderError) -> None:
        """The provider did not take a message.

        What it says of one recipient or one message alone shows that it is well itself.
        """
        if isinstance(error, UnsendableError | RefusedTogetherError):
            return
        is_account = isinstance(error, AccountProviderError)
        is_about_recipient = error.is_one_route and not is_account
        if isinstance(error, PermanentProviderError) or is_about_recipient:
            self.note_good(name, reset_id)
            return
        told = CallTally(
            bad=1,
            account=int(is_account),
            is_outage=is_account and not error.is_one_route,
            holder=reset_id if reset_id in self._probes else "",
            reason=error.reason,
        )
        self._failures[reset_id] = (name, told)

    def conclude(self, reset_id: str) -> None:
        """The attempt is over and noted: tell what must be told at once, give back the probe."""
        probed, failed = self._probes.pop(reset_id, None), self._failures.pop(reset_id, None)
        try:
            if failed is not None:
                name, told = failed
                told = replace(told, good=told.good + self._take_good(name))
                self._take_note(self._circuits.record(name, told), is_account=bool(told.account))
            elif probed is not None:
                self._circuits.release_probe(probed, reset_id)
        except StoreUnavailableError:
            log.info("store.unavailable", during="circuit")

    def _take_good(self, name: str) -> int:
        with self._lock:
            return self._good.pop(name, 0)

    def _fresh(self, name: str) -> _Seen | None:
        seen = self._seen.get(name)
        return seen if seen and self._clock() - seen.at < STALE_SECONDS else None

    def _take_note(self, circuit: Circuit, *, is_account: bool = False) -> None:
        self._seen[circuit.provider] = _Seen(circuit, self._clock())
        if circuit.has_changed and circuit.state is CircuitState.OPEN:
            say = log.error if is_account else log.warning  # our account's trouble needs somebody
            say("circuit.opened", provider=circuit.provider, reason=circuit.reason,
                seconds=round(circuit.wait_seconds, 1))  # fmt: skip
        elif circuit.has_changed:
            log.warning("circuit.closed", provider=circuit.provider)
