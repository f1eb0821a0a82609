"""/metrics: what the scripts counted in Redis, as Prometheus reads it.

The counts are written in the same step as what they count, so they hold for all processes and
machines together and survive each of them. Scrape one web process, not all: each tells the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.models import DUE_QUEUES, Queue
from shared.store.admin.circuits import Circuit, CircuitState
from shared.store.admin.statistics import ServerHealth
from shared.store.due_sets import DueStore
from shared.store.receipts import DELIVERED_BUCKETS_MS
from shared.store.resets import ACCEPTED_BUCKETS_MS, DURATION_BUCKETS_MS
from shared.store.webhooks.deliveries import Standing
from shared.wiring import Services

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


def server_metrics(
    health: ServerHealth | None, *, durability: str, is_broker_up: bool
) -> Iterator[Metric]:
    """How the server is, where it lets us ask; what callers were promised; the broker."""
    memory = GaugeMetricFamily(
        "keyturn_store_memory_ratio", "Used memory of Redis, as a share of what it may use"
    )
    file = GaugeMetricFamily("keyturn_store_append_only", "1 while Redis keeps an append-only file")
    written = GaugeMetricFamily(
        "keyturn_store_written", "1 while the last write of the append-only file went well"
    )
    replicas = GaugeMetricFamily("keyturn_store_replicas", "Replicas connected to Redis")
    if health is not None:
        memory.add_metric([], health.memory_ratio)
        file.add_metric([], health.has_append_only_file)
        written.add_metric([], health.is_written)
        replicas.add_metric([], health.replicas)
    promised = GaugeMetricFamily(
        "keyturn_durability", "1 for what Redis must confirm before a 200", labels=["level"]
    )
    promised.add_metric([durability], 1)
    yield from (memory, file, written, replicas, promised)
    yield GaugeMetricFamily(
        "keyturn_broker_up", "1 while the broker answers", value=float(is_broker_up)
    )


def webhook_metrics(totals: Counter[str], standings: Collection[Standing]) -> Iterator[Metric]:
    """What came of the tries, and what has not been told."""
    tries = CounterMetricFamily(
        "keyturn_webhooks",
        "Tries to tell a subscriber: told, again, dead (the last one), dropped (too far behind)",
        labels=["outcome"],
    )
    for name, value in sorted(totals.items()):
        kind, *parts = name.split(":")
        if kind == "w":
            tries.add_metric(parts, value)
    yield tries
    yield GaugeMetricFamily(
        "keyturn_webhooks_waiting",
        "Webhooks that were not told yet",
        value=sum(each.waiting for each in standings),
    )
    yield GaugeMetricFamily(
        "keyturn_webhooks_dead",
        "Webhooks told in vain, kept until replayed",
        value=sum(each.dead for each in standings),
    )
    yield GaugeMetricFamily(
        "keyturn_webhooks_oldest_seconds",
        "How long the longest waiting webhook is overdue",
        value=max((each.oldest_age_seconds for each in standings), default=0.0),
    )


def render_metrics(services: Services) -> tuple[bytes, str]:
    """The text and its content type.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    totals = services.counters.totals()
    providers = dict.fromkeys(name for names in services.provider_names.values() for name in names)
    subscriptions = [each.subscription_id for each in services.subscriptions.all()]
    metrics = [
        *_reset_metrics(totals),
        *circuit_metrics(totals, services.circuits.look(providers).values()),
        *_queue_metrics(services.dues),
        *webhook_metrics(totals, services.webhooks.look(subscriptions).values()),
        *server_metrics(
            services.server.health(),
            durability=services.settings.durability,
            is_broker_up=services.hints.is_connected(),
        ),
    ]
    registry = CollectorRegistry()
    registry.register(_Once(metrics))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Once:
    """A collector of metrics that are made already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _reset_metrics(totals: Counter[str]) -> Iterator[Metric]:
    open_now = GaugeMetricFamily(
        "keyturn_resets_open", "Resets that are not final, by status", labels=["status"]
    )
    reached = CounterMetricFamily(
        "keyturn_resets", "Resets that reached a status", labels=["channel", "status"]
    )
    for name, value in sorted(totals.items()):
        kind, *parts = name.split(":")
        if kind == "now":
            open_now.add_metric(parts, value)
        elif kind == "to":
            reached.add_metric(parts, value)
    yield open_now
    yield reached
    yield CounterMetricFamily(
        "keyturn_resets_completed", "Passwords changed with a code", value=totals["completed"]
    )
    yield CounterMetricFamily(
        "keyturn_resets_poisoned",
        "Resets given up because nobody who took them got through",
        value=totals["poison"],
    )
    yield _accepted_metric(totals)
    yield from _provider_metrics(totals)
    yield from _callback_metrics(totals)


def _accepted_metric(totals: Counter[str]) -> Metric:
    accepted = HistogramMetricFamily(
        "keyturn_accepted_seconds",
        "From the record to a provider's yes",
        labels=["channel", "queue"],
    )
    took: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, value in sorted(totals.items()):
        kind, *parts = name.split(":")
        if kind == "s":
            channel, queue, figure = parts
            took[channel, queue][figure] = value
    for labels, figures in took.items():
        buckets = _running(figures, ACCEPTED_BUCKETS_MS)
        accepted.add_metric(labels, buckets, figures["ms"] / 1000)
    return accepted


def _provider_metrics(totals: Counter[str]) -> Iterator[Metric]:
    calls: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, value in totals.items():
        kind, *parts = name.split(":")
        if kind == "p":
            provider, outcome, figure = parts
            calls[provider, outcome][figure] = value
    durations = HistogramMetricFamily(
        "keyturn_provider_request_duration_seconds",
        "Calls to providers",
        labels=["provider", "outcome"],
    )
    for (provider, outcome), figures in sorted(calls.items()):
        buckets = _running(figures, DURATION_BUCKETS_MS)
        durations.add_metric([provider, outcome], buckets, figures["ms"] / 1000)
    yield durations


def _callback_metrics(totals: Counter[str]) -> Iterator[Metric]:
    callbacks = CounterMetricFamily(
        "keyturn_callbacks", "Reports of providers", labels=["provider", "outcome"]
    )
    last = GaugeMetricFamily(
        "keyturn_callback_last_seconds",
        "When a provider's last genuine callback came, in epoch seconds",
        labels=["provider"],
    )
    delivered = HistogramMetricFamily(
        "keyturn_delivered_seconds",
        "From the record to the recipient, as providers tell it",
        labels=["channel", "provider"],
    )
    took: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, value in sorted(totals.items()):
        kind, *parts = name.split(":")
        if kind == "cb":
            callbacks.add_metric(parts, value)
        elif kind == "last":
            last.add_metric(parts, value / 1000)
        elif kind == "d":
            channel, provider, figure = parts
            took[channel, provider][figure] = value
    for labels, figures in took.items():
        buckets = _running(figures, DELIVERED_BUCKETS_MS)
        delivered.add_metric(labels, buckets, figures["ms"] / 1000)
    yield callbacks
    yield last
    yield delivered


def _running(figures: Counter[str], bounds_ms: tuple[int, ...]) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: each holds those below it too."""
    buckets, running = [], 0
    for bound in bounds_ms:
        running += figures[f"b{bound}"]
        buckets.append((str(bound / 1000), float(running)))
    return [*buckets, ("+Inf", float(running + figures["binf"]))]


def _queue_metrics(dues: DueStore) -> Iterator[Metric]:
    depth = GaugeMetricFamily("keyturn_due_depth", "Resets in a due set", labels=["queue"])
    late = GaugeMetricFamily("keyturn_due_now", "Of them, due now", labels=["queue"])
    age = GaugeMetricFamily(
        "keyturn_due_oldest_seconds", "How long the longest waiting is overdue", labels=["queue"]
    )
    for queue in DUE_QUEUES:
        view = dues.look(queue)
        depth.add_metric([queue.value], view.waiting)
        late.add_metric([queue.value], view.due)
        age.add_metric([queue.value], view.oldest_age_seconds)
    yield depth
    yield late
    yield age
    workers = GaugeMetricFamily(
        "keyturn_workers", "Worker processes seen in the last 5 s", labels=["queue"]
    )
    for queue in Queue:
        workers.add_metric([queue.value], len(dues.workers_seen(queue)))
    yield workers
