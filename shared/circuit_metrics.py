"""The providers' circuits and switches, as Prometheus reads them; for shared/metrics.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.store.circuits import Circuit, CircuitState

STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


def circuit_metrics(totals: Counter[str], circuits: Iterable[Circuit]) -> Iterator[Metric]:
    """Whether each provider is called, how many of its calls fail, and what went elsewhere."""
    state = GaugeMetricFamily(
        "keyturn_circuit_state",
        "Circuit of a provider: 0 closed, 1 half open, 2 open",
        labels=["provider"],
    )
    rate = GaugeMetricFamily(
        "keyturn_circuit_error_ratio",
        "Share of a provider's calls in the last 30 s that were transient, account or doubt",
        labels=["provider"],
    )
    for circuit in circuits:
        state.add_metric([circuit.provider], STATES[circuit.state])
        rate.add_metric([circuit.provider], circuit.error_rate)
    switches = CounterMetricFamily(
        "keyturn_provider_switches",
        "Attempts another provider carried in place of this one",
        labels=["provider", "to", "reason"],
    )
    for name, value in sorted(totals.items()):
        kind, *parts = name.split(":")
        if kind == "sw":
            switches.add_metric(parts, value)
    yield state
    yield rate
    yield switches
