"""Store the circuit breakers of the providers, shared by all workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from shared.organisations.sender import OWN
from shared.store import keys
from shared.store.connection import Client
from shared.store.scripts import Argument, Scripts
from shared.validation import moment

KEEP_SECONDS = 86400.0


class CircuitState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"  # it is
    HALF_OPEN = "half_open"  # one message at a time probes whether it works again
    OPEN = "open"  # it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRules:
    """When a circuit opens and closes.

    Source: docs/decisions/0013-circuits-are-advice.md
    """

    window_seconds: float = 30.0
    min_calls: int = 20  # in the window, before more than half of them failing opens it
    max_consecutive: int = 5  # account failures in a row, each about one route
    open_seconds: float = 15.0  # doubles with each probe that fails …
    max_open_seconds: float = 120.0  # … up to this
    max_sole_seconds: float = 15.0  # of a channel's only provider: people wait for it
    probes: int = 3  # successful ones in a row close it


@dataclass(frozen=True, slots=True)
class Switch:
    """A message that another provider carried instead of this one."""

    at: datetime
    to: str
    reason: str  # of worker/routing.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A provider's circuit at one moment."""

    provider: str
    state: CircuitState = CircuitState.CLOSED
    wait_seconds: float = 0.0  # until the next probe, as far as is known now
    calls: int = 0  # in the window
    failures: int = 0
    opened_at: datetime | None = None
    reason: str | None = None  # the failure that opened it, or the last probe's
    last_switch: Switch | None = None
    has_changed: bool = False  # its state, by the call that returned this

    @property
    def error_rate(self) -> float:
        """Return the share of calls in the window that failed, 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTally:
    """The outcomes of calls to a provider since the last tally."""

    good: int = 0
    bad: int = 0
    account: int = 0  # of the bad, failures of our account
    is_outage: bool = False  # a failure of the whole account: opens at once
    holder: str = ""  # of the probe, if this is its outcome
    reason: str = ""
    switch: tuple[str, str] = ("", "")  # the provider that carried instead, and why


class CircuitStore:
    """Read and move the circuits; each move is one step of one script."""

    def __init__(
        self,
        client: Client,
        rules: CircuitRules | None = None,
        *,
        sole_providers: frozenset[str] = frozenset(),
    ) -> None:
        """`client` may be a fake one; `sole_providers` are those whose channel has no other."""
        self._scripts, self._sole_providers = Scripts(client), sole_providers
        self._rules = rules or CircuitRules()

    def read(self, providers: Iterable[str]) -> dict[str, Circuit]:
        """Return the circuits as they are, in one trip; change nothing."""
        return self._run_all(dict.fromkeys(providers, ("look",)))

    def record(self, provider: str, tally: CallTally) -> Circuit:
        """Record the outcomes of calls; return the circuit after them."""
        return _parse(provider, self._run(provider, *_tally_arguments(tally)))

    def record_all(self, tallies: Mapping[str, CallTally]) -> dict[str, Circuit]:
        """Record the outcomes of several providers' calls, in one trip."""
        return self._run_all({name: _tally_arguments(tally) for name, tally in tallies.items()})

    def take_probe(
        self, provider: str, holder: str, *, lease_seconds: float
    ) -> tuple[bool, Circuit]:
        """Return whether `holder` may probe a half-open provider now; a lease, as it may die."""
        answer = self._run(provider, "probe", holder, int(lease_seconds * 1000))
        return bool(answer[2]), _parse(provider, answer)

    def release_probe(self, provider: str, holder: str) -> None:
        """Give back a probe that did not take place."""
        self._run(provider, "release", holder)

    def allow_probe(self, provider: str) -> Circuit:
        """Half-open an open circuit at once, as an operator asks."""
        return _parse(provider, self._run(provider, "try_now"))

    def _run(self, provider: str, *arguments: Argument) -> list[Any]:
        answer: list[Any] = self._scripts.run("admin/circuit", *self._call(provider, arguments))
        return answer

    def _run_all(self, arguments: Mapping[str, tuple[Argument, ...]]) -> dict[str, Circuit]:
        calls = [self._call(provider, each) for provider, each in arguments.items()]
        answers = self._scripts.run_many("admin/circuit", calls) if calls else []
        return {n: _parse(n, answer) for n, answer in zip(arguments, answers, strict=True)}

    def _call(
        self, provider: str, arguments: tuple[Argument, ...]
    ) -> tuple[tuple[str], tuple[Argument, ...]]:
        rules = self._rules
        is_sole = provider in self._sole_providers or provider.startswith(OWN)
        longest = rules.max_sole_seconds if is_sole else rules.max_open_seconds
        limits = (
            int(rules.window_seconds * 1000),
            rules.min_calls,
            rules.max_consecutive,
            int(min(rules.open_seconds, longest) * 1000),
            int(longest * 1000),
            rules.probes,
            int(KEEP_SECONDS * 1000),
        )
        return (keys.circuit(provider),), (*limits, *arguments)


def _tally_arguments(tally: CallTally) -> tuple[Argument, ...]:
    counts = (tally.good, tally.bad, tally.account, int(tally.is_outage))
    return ("tell", *counts, tally.holder, tally.reason, *tally.switch)


def _parse(provider: str, answer: list[Any]) -> Circuit:
    state, changed, _, wait_ms, calls, failures, opened_at, reason, switch = answer
    switched = orjson.loads(switch) if switch else None  # [at_ms, to, reason]
    return Circuit(
        provider=provider,
        state=CircuitState(state),
        wait_seconds=int(wait_ms) / 1000,
        calls=int(calls),
        failures=int(failures),
        opened_at=moment(opened_at) if opened_at else None,
        reason=reason or None,
        last_switch=Switch(moment(switched[0]), *switched[1:]) if switched else None,
        has_changed=bool(changed),
    )
