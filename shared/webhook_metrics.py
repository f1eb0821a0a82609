"""What subscribers are told, as Prometheus reads it; for shared/metrics.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.store.webhooks import Standing


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
