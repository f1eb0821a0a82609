"""Build /metrics from the counters in Redis, in Prometheus's format.

The counts are written in the same step as what they count, so they hold for all processes and
machines together and survive each of them. Scrape one web process, not all: each says the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

from shared.models import DUE_QUEUES, Queue
from shared.store.admin.circuits import Circuit, CircuitState
from shared.store.admin.statistics import UNFILLED, ServerHealth
from shared.store.due_sets import DueStore
from shared.store.receipts import DELIVERED_BUCKETS_MS
from shared.store.resets import ACCEPTED_BUCKETS_MS, DURATION_BUCKETS_MS
from shared.store.webhooks.deliveries import Backlog
from shared.wiring import Services

Samples = Iterable[tuple[Sequence[str], float]]  # labels → value

STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


def render_metrics(services: Services) -> bytes:
    """Return every metric as text.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    totals = services.counters.totals()
    providers = dict.fromkeys(name for names in services.provider_names.values() for name in names)
    subscriptions = [each.subscription_id for each in services.subscriptions.all()]
    metrics = [
        *_reset_metrics(totals),
        *_password_metrics(totals),
        *_provider_metrics(totals, services.circuits.read(providers).values()),
        *_queue_metrics(totals, services.dues),
        *_webhook_metrics(totals, services.webhooks.read_backlogs(subscriptions).values()),
        *_sms_metrics(services.prefixes.totals()),
        *_server_metrics(services.server.health()),
    ]
    durability = GaugeMetricFamily(
        "keyturn_durability", "1 for what Redis must confirm before a 200", labels=["level"]
    )
    durability.add_metric([services.settings.durability], 1)
    broker = GaugeMetricFamily(
        "keyturn_broker_up",
        "1 while the broker answers, or if there is none",
        value=float(services.hints.is_connected()),
    )
    return generate_latest(_Collected([*metrics, durability, broker]))


class _Collected:
    """A collector of metrics that are ready."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _reset_metrics(totals: Counter[str]) -> Iterator[Metric]:
    yield _gauge(
        "keyturn_resets_open",
        "Resets that are not final, by status",
        ["status"],
        _select(totals, "now"),
    )
    yield _counter(
        "keyturn_resets",
        "Resets that reached a status",
        ["channel", "status"],
        _select(totals, "to"),
    )
    yield CounterMetricFamily(
        "keyturn_resets_completed", "Passwords changed with a code", value=totals["completed"]
    )
    yield CounterMetricFamily(
        "keyturn_resets_poisoned",
        "Resets given up because every worker that took them failed",
        value=totals["poison"],
    )
    yield _histogram(
        "keyturn_accepted_seconds",
        "From the record to a provider's acceptance",
        ["channel", "queue"],
        _select(totals, "s"),
        ACCEPTED_BUCKETS_MS,
    )
    yield _histogram(
        "keyturn_delivered_seconds",
        "From the record to the recipient, as providers report it",
        ["channel", "provider"],
        _select(totals, "d"),
        DELIVERED_BUCKETS_MS,
    )


def _password_metrics(totals: Counter[str]) -> Iterator[Metric]:
    yield _counter(
        "keyturn_password_lookups",
        "Look-ups of leaked passwords; after a failed one the password was taken",
        ["outcome"],
        _select(totals, "lp"),
    )
    yield CounterMetricFamily(
        "keyturn_password_hashes_unknown",
        "Passwords that could not be compared: their hashes have an unknown format",
        value=totals["unknown_hashes"],
    )
    yield _counter(
        "keyturn_wrong_codes",
        "Codes that were wrong, by what they were as long as",
        ["kind"],
        (([kind], totals[f"wrong:{kind}"]) for kind in ("typed", "link")),
    )
    yield _counter(
        "keyturn_texts_unfilled",
        "Sentences of an organisation's own in whose place the built-in one went out",
        ["language", "organisation"],
        (
            (name.removeprefix(UNFILLED).split(":", 1), value)
            for name, value in sorted(totals.items())
            if name.startswith(UNFILLED)
        ),
    )


def _provider_metrics(totals: Counter[str], circuits: Iterable[Circuit]) -> Iterator[Metric]:
    circuits = list(circuits)
    yield _histogram(
        "keyturn_provider_request_duration_seconds",
        "Calls to providers",
        ["provider", "outcome"],
        _select(totals, "p"),
        DURATION_BUCKETS_MS,
    )
    yield _counter(
        "keyturn_callbacks", "Reports of providers", ["provider", "outcome"], _select(totals, "cb")
    )
    yield _gauge(
        "keyturn_callback_last_seconds",
        "When a provider's last genuine callback came, in epoch seconds",
        ["provider"],
        ((labels, value / 1000) for labels, value in _select(totals, "last")),
    )
    yield _gauge(
        "keyturn_circuit_state",
        "Circuit of a provider: 0 closed, 1 half open, 2 open",
        ["provider"],
        (([each.provider], STATES[each.state]) for each in circuits),
    )
    yield _gauge(
        "keyturn_circuit_error_ratio",
        "Share of a provider's calls in the last 30 s that were transient, account or doubt",
        ["provider"],
        (([each.provider], each.error_rate) for each in circuits),
    )
    yield _counter(
        "keyturn_provider_switches",
        "Attempts another provider carried in place of this one",
        ["provider", "to", "reason"],
        _select(totals, "sw"),
    )


def _queue_metrics(totals: Counter[str], dues: DueStore) -> Iterator[Metric]:
    views = {queue.value: dues.look(queue) for queue in DUE_QUEUES}
    yield _gauge(
        "keyturn_due_depth",
        "Resets in a due set",
        ["queue"],
        (([queue], view.waiting) for queue, view in views.items()),
    )
    yield _gauge(
        "keyturn_due_now",
        "Of them, due now",
        ["queue"],
        (([queue], view.due) for queue, view in views.items()),
    )
    yield _gauge(
        "keyturn_due_oldest_seconds",
        "How long the oldest is overdue",
        ["queue"],
        (([queue], view.oldest_age_seconds) for queue, view in views.items()),
    )
    yield _gauge(
        "keyturn_workers",
        "Worker processes seen in the last 5 s",
        ["queue"],
        (([queue.value], len(dues.workers_seen(queue))) for queue in Queue),
    )
    yield _counter(
        "keyturn_worker_starts", "Worker processes that started", ["queue"], _select(totals, "ws")
    )
    yield CounterMetricFamily(
        "keyturn_hints_unreadable",
        "Messages in the broker that were no hints and were dropped",
        value=totals["unread"],
    )


def _webhook_metrics(totals: Counter[str], backlogs: Collection[Backlog]) -> Iterator[Metric]:
    yield _counter(
        "keyturn_webhooks",
        "Tries to call a subscriber: told, again, dead (the last one), dropped (too far behind)",
        ["outcome"],
        _select(totals, "w"),
    )
    yield GaugeMetricFamily(
        "keyturn_webhooks_waiting",
        "Webhooks that were not delivered yet",
        value=sum(each.waiting for each in backlogs),
    )
    yield GaugeMetricFamily(
        "keyturn_webhooks_dead",
        "Webhooks whose last try failed, kept until replayed",
        value=sum(each.dead for each in backlogs),
    )
    yield GaugeMetricFamily(
        "keyturn_webhooks_oldest_seconds",
        "How long the oldest webhook is overdue",
        value=max((each.oldest_age_seconds for each in backlogs), default=0.0),
    )


def _sms_metrics(totals: Mapping[str, int]) -> Iterator[Metric]:
    counts = Counter(totals)
    for kind, text in (
        ("tripped", "Times a rule of SMS found something"),
        ("met", "SMS that met a rule in force; `stop` were refused"),
    ):
        yield _counter(f"keyturn_sms_guard_{kind}", text, ["rule", "level"], _select(counts, kind))


def _server_metrics(health: ServerHealth | None) -> Iterator[Metric]:
    """Yield the figures of Redis; without values if we may not ask for them."""
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
    yield from (memory, file, written, replicas)


def _select(totals: Counter[str], kind: str) -> Iterator[tuple[list[str], int]]:
    """Yield the labels and the value of each counter of a kind."""
    for name, value in sorted(totals.items()):
        first, *labels = name.split(":")
        if first == kind:
            yield labels, value


def _counter(name: str, documentation: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _gauge(name: str, documentation: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str,
    documentation: str,
    labels: Sequence[str],
    samples: Samples,
    bounds_ms: tuple[int, ...],
) -> Metric:
    """Sum up the buckets: in Prometheus's format each holds those below it too."""
    figures: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for (*values, figure), number in samples:
        figures[tuple(values)][figure] = int(number)
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for label_values, counts in figures.items():
        buckets, running = [], 0
        for bound in bounds_ms:
            running += counts[f"b{bound}"]
            buckets.append((str(bound / 1000), float(running)))
        buckets.append(("+Inf", float(running + counts["binf"])))
        family.add_metric(label_values, buckets, counts["ms"] / 1000)
    return family
