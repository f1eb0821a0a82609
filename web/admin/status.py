"""The status of the installation: queues, providers, pauses, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.models import DUE_QUEUES, Outcome, Queue
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.admin.statistics import LAST_CALLBACK, RecentCounts
from shared.store.batches import Batch
from shared.store.records import moment
from shared.store.resets import DURATION_BUCKETS_MS
from web.admin.providers import ProviderView, load_providers
from web.callbacks import has_callbacks
from web.services import WebServices

MINUTE_SECONDS, WINDOW_SECONDS = 60, 300
# A permanent refusal is about the recipient, and no error of the provider.
BAD = (Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.DOUBT)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue and its workers."""

    queue: Queue
    depth: int  # resets that are not final, reports of providers, or webhooks
    due: int  # of them, due now
    oldest_seconds: float = 0  # how long the oldest is overdue
    in_per_minute: float | None = None  # None: not counted yet
    out_per_minute: float | None = None
    workers: int
    hints: int | None  # None: the broker does not answer
    pause: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFigures:
    """A provider, and the outcomes of its calls in the last five minutes."""

    view: ProviderView
    calls: int | None
    error_rate: float | None = None  # 0 to 1
    refusal_rate: float | None = None  # 0 to 1, of permanent refusals: normal while rare
    p95_ms: int | None = None  # an upper bound
    reportable: int = 0  # messages accepted at least a minute ago: callbacks should have come
    callbacks: int = 0
    refused_callbacks: int = 0
    last_callback_at: datetime | None = None  # a verified one, at any time
    has_callbacks: bool = False  # it sends callbacks that we can verify


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """The whole installation."""

    queues: tuple[QueueView, ...]
    providers: tuple[ProviderFigures, ...]
    open: Mapping[str, int]  # resets that are not final, by status
    reached: Mapping[str, int]  # by status, since the installation
    completed: int
    pauses: tuple[Pause, ...]
    releases: tuple[Release, ...]
    batches: tuple[Batch, ...]
    has_broker: bool


def load_status(services: WebServices) -> StatusView:
    """Return the status, in a time that does not depend on the number of resets.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    minute, window = services.samples.recent(MINUTE_SECONDS, WINDOW_SECONDS)
    totals = services.counters.totals()
    pauses, has_broker = tuple(services.pauses.all()), services.hints.is_connected()
    reached: Counter[str] = Counter()
    for name, value in totals.items():
        if name.startswith("to:"):
            reached[name.rpartition(":")[2]] += value
    return StatusView(
        queues=tuple(_queue(services, q, minute, pauses, has_broker=has_broker) for q in Queue),
        providers=tuple(
            _figures(services, view, minute, window, totals) for view in load_providers(services)
        ),
        open={n[4:]: v for n, v in sorted(totals.items()) if n.startswith("now:") and v},
        reached=dict(sorted(reached.items())),
        completed=totals["completed"],
        pauses=pauses,
        releases=tuple(services.pauses.releases()),
        batches=tuple(services.batches.active()),
        has_broker=has_broker,
    )


def _queue(
    services: WebServices,
    queue: Queue,
    minute: RecentCounts | None,
    pauses: tuple[Pause, ...],
    *,
    has_broker: bool,
) -> QueueView:
    depth, due, oldest_seconds = _depth(services, queue)
    counts = minute if queue in DUE_QUEUES else None
    return QueueView(
        queue=queue,
        depth=depth,
        due=due,
        oldest_seconds=oldest_seconds,
        in_per_minute=counts.per_minute(f"in:{queue.value}") if counts else None,
        out_per_minute=counts.per_minute(f"out:{queue.value}") if counts else None,
        workers=len(services.dues.workers_seen(queue)),
        hints=services.hints.waiting(queue) if has_broker else None,
        pause=next((p for p in pauses if p.scope is Scope.QUEUE and p.name == queue.value), None),
    )


def _depth(services: WebServices, queue: Queue) -> tuple[int, int, float]:
    """Return what a queue holds, what of it is due, and how long the oldest is overdue."""
    if queue in DUE_QUEUES:
        view = services.dues.look(queue)
        return view.waiting, view.due, view.oldest_age_seconds
    if queue is Queue.RECEIPTS:
        depth = services.receipts.depth()
        return depth, depth, 0.0
    known = [each.subscription_id for each in services.subscriptions.all()]
    backlogs = services.webhooks.read_backlogs(known).values()
    return (
        sum(each.waiting for each in backlogs),
        sum(each.due for each in backlogs),
        max((each.oldest_age_seconds for each in backlogs), default=0.0),
    )


def _figures(
    services: WebServices,
    view: ProviderView,
    minute: RecentCounts | None,
    window: RecentCounts | None,
    totals: Mapping[str, int],
) -> ProviderFigures:
    last_ms = totals.get(f"{LAST_CALLBACK}{view.name}")
    is_reporting = has_callbacks(services.settings, view.name)
    last_at = moment(last_ms) if last_ms else None
    if window is None or minute is None:
        return ProviderFigures(
            view=view, calls=None, last_callback_at=last_at, has_callbacks=is_reporting
        )
    before = f"p:{view.name}:"
    counts = {n[len(before) :]: v for n, v in window.counts.items() if n.startswith(before)}
    by_outcome = {outcome: counts.get(f"{outcome}:n", 0) for outcome in Outcome}
    calls = sum(by_outcome.values())
    bad = sum(by_outcome[outcome] for outcome in BAD)
    return ProviderFigures(
        view=view,
        calls=calls,
        error_rate=bad / calls if calls else None,
        refusal_rate=by_outcome[Outcome.PERMANENT] / calls if calls else None,
        p95_ms=_p95_ms(counts, slowest_ms=round(services.settings.provider_timeout_seconds * 1000)),
        reportable=by_outcome[Outcome.ACCEPTED] - minute.counts.get(f"{before}accepted:n", 0),
        callbacks=window.counts.get(f"cb:{view.name}:received", 0),
        refused_callbacks=window.counts.get(f"cb:{view.name}:refused", 0),
        last_callback_at=last_at,
        has_callbacks=is_reporting,
    )


def _p95_ms(counts: Mapping[str, int], *, slowest_ms: int) -> int | None:
    """Return the upper bound of the bucket that holds the 95th percentile."""
    buckets = [
        (bound, sum(counts.get(f"{outcome}:b{bound}", 0) for outcome in Outcome))
        for bound in DURATION_BUCKETS_MS
    ]
    buckets.append((slowest_ms, sum(counts.get(f"{outcome}:binf", 0) for outcome in Outcome)))
    total, running = sum(count for _, count in buckets), 0
    for bound, count in buckets:
        running += count
        if total and running >= total * 0.95:
            return min(bound, slowest_ms)
    return None
