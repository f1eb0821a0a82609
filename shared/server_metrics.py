"""The store's server and the broker, as Prometheus reads them; for shared/metrics.py."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.store.server import ServerHealth


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
