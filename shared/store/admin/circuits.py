"""Store the providers' circuit breakers, shared by all workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from shared.store import keys
from shared.store.connection import Client
from shared.store.scripts import Argument, Scripts
from shared.validation import moment

KEEP_SECONDS = 86400.0


class CircuitState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"  # the provider is called
    HALF_OPEN = "half_open"  # one message at a time probes it
    OPEN = "open"  # the provider is not called


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRules:
    """When a circuit opens and closes. Source: the reliability note, section 3.2."""

    window_seconds: float = 30.0
    min_tries: int = 20  # in the window, before more than half of them bad opens it
    max_in_a_row: int = 5  # account failures that concern one route each
    open_seconds: float = 15.0  # doubles with each probe that fails …
    max_open_seconds: float = 120.0  # … up to this
    max_alone_seconds: float = 15.0  # up to this, where no other provider serves the channel
    probes: int = 3  # successful ones in a row that close it


@dataclass(frozen=True, slots=True)
class Switch:
    """A message that another provider carried instead of this one."""

    at: datetime
    to: str
    reason: str  # a word of worker/choice.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A provider's circuit at one moment."""

    provider: str
    state: CircuitState = CircuitState.CLOSED
    wait_seconds: float = 0.0  # until it may be probed, as far as is known now
    tries: int = 0  # in the window
    failures: int = 0
    opened_at: datetime | None = None
    reason: str | None = None  # the failure that opened it, or the last probe's
    last_switch: Switch | None = None
    has_changed: bool = False  # by the call that returned this

    @property
    def error_rate(self) -> float:
        """The share of failed calls in the window, 0 to 1."""
        return self.failures / self.tries if self.tries else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTally:
    """The outcomes of calls to a provider since the last report."""

    good: int = 0
    bad: int = 0
    account: int = 0  # of the bad, our account's trouble
    is_outage: bool = False  # trouble of the whole account: opens at once
    holder: str = ""  # who held the probe, when this is its outcome
    reason: str = ""
    switch: tuple[str, str] = ("", "")  # which provider carried a message instead, and why


class CircuitStore:
    """Read and update circuits; each change is one atomic script."""

    def __init__(
        self,
        client: Client,
        rules: CircuitRules | None = None,
        *,
        alone: frozenset[str] = frozenset(),
    ) -> None:
        """`client` may be a fake one; `alone` are the providers whose channel has no other."""
        self._scripts, self._alone = Scripts(client), alone
        self._rules = rules or CircuitRules()

    def _arguments(self, provider: str) -> tuple[Argument, ...]:
        rules = self._rules
        is_alone = provider in self._alone
        longest = rules.max_alone_seconds if is_alone else rules.max_open_seconds
        return (
            int(rules.window_seconds * 1000),
            rules.min_tries,
            rules.max_in_a_row,
            int(min(rules.open_seconds, longest) * 1000),
            int(longest * 1000),
            rules.probes,
            int(KEEP_SECONDS * 1000),
        )

    def look(self, providers: Iterable[str]) -> dict[str, Circuit]:
        """Return the circuits, in one round trip; change nothing."""
        names = tuple(providers)
        calls = [((keys.circuit(name),), (*self._arguments(name), "look")) for name in names]
        answers = self._scripts.run_many("admin/circuit", calls) if calls else []
        return {name: _parse(name, answer) for name, answer in zip(names, answers, strict=True)}

    def tell(self, provider: str, outcomes: CallTally) -> Circuit:
        """Report outcomes; return the circuit after them."""
        return _parse(provider, self._run(provider, *_report(outcomes)))

    def tell_all(self, outcomes: Mapping[str, CallTally]) -> dict[str, Circuit]:
        """Report outcomes of several providers, in one round trip."""
        calls = [
            ((keys.circuit(n),), (*self._arguments(n), *_report(each)))
            for n, each in outcomes.items()
        ]
        answers = self._scripts.run_many("admin/circuit", calls) if calls else []
        return {name: _parse(name, answer) for name, answer in zip(outcomes, answers, strict=True)}

    def take_probe(
        self, provider: str, holder: str, *, lease_seconds: float
    ) -> tuple[bool, Circuit]:
        """Lease the probe of a half-open circuit; return if `holder` got it, and the circuit."""
        answer = self._run(provider, "probe", holder, int(lease_seconds * 1000))
        return bool(answer[2]), _parse(provider, answer)

    def release_probe(self, provider: str, holder: str) -> None:
        """Release the probe: it was not made."""
        self._run(provider, "release", holder)

    def let_try(self, provider: str) -> Circuit:
        """Allow a probe of an open circuit at once."""
        return _parse(provider, self._run(provider, "try_now"))

    def _run(self, provider: str, *arguments: Argument) -> list[Any]:
        answer: list[Any] = self._scripts.run(
            "admin/circuit", (keys.circuit(provider),), (*self._arguments(provider), *arguments)
        )
        return answer


def _report(outcomes: CallTally) -> tuple[Argument, ...]:
    counts = (outcomes.good, outcomes.bad, outcomes.account, int(outcomes.is_outage))
    return ("tell", *counts, outcomes.holder, outcomes.reason, *outcomes.switch)


def _parse(provider: str, answer: list[Any]) -> Circuit:
    state, changed, _, wait_ms, tries, failures, opened_at, reason, switch = answer
    return Circuit(
        provider=provider,
        state=CircuitState(state),
        wait_seconds=int(wait_ms) / 1000,
        tries=int(tries),
        failures=int(failures),
        opened_at=moment(opened_at) if opened_at else None,
        reason=reason or None,
        last_switch=_parse_switch(switch) if switch else None,
        has_changed=bool(changed),
    )


def _parse_switch(text: str) -> Switch:
    at_ms, to, reason = orjson.loads(text)
    return Switch(moment(at_ms), to, reason)
