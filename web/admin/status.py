"""The use case of looking at the whole installation: queues, providers, pauses, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.models import DUE_QUEUES, Outcome, Queue
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.admin.statistics import LAST, Lately
from shared.store.batches import Batch
from shared.store.records import moment
from shared.store.resets import DURATION_BUCKETS_MS
from web.admin.providers import ProviderView, load_providers
from web.callbacks import is_heard
from web.services import WebServices

MINUTE_SECONDS, WINDOW_SECONDS = 60, 300
# Whose trouble it is: a refusal for good is about the recipient, and none of the provider's.
BAD = (Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.DOUBT)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as it stands."""

    queue: Queue
    depth: int  # what is not over: resets, reports of providers, webhooks
    due: int  # of it, what should be looked at now
    oldest_seconds: float = 0  # how long the first of them is overdue
    in_per_minute: float | None = None  # None: nobody has counted yet
    out_per_minute: float | None = None
    workers: int
    hints: int | None  # None: the broker does not answer
    pause: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFigures:
    """A provider, and how its calls went in the last five minutes."""

    view: ProviderView
    calls: int | None
    error_rate: float | None = None  # 0 to 1
    refusal_rate: float | None = None  # 0 to 1: for good, which is nobody's trouble while seldom
    p95_ms: int | None = None  # an upper bound
    ripe: int = 0  # messages it took at least a minute ago: something should have been reported
    callbacks: int = 0
    refused_callbacks: int = 0
    last_callback_at: datetime | None = None  # a genuine one, however long ago
    is_heard: bool = False  # it calls back and can prove that it does


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """All of it."""

    queues: tuple[QueueView, ...]
    providers: tuple[ProviderFigures, ...]
    open: Mapping[str, int]  # resets that are not final, by status
    reached: Mapping[str, int]  # since the beginning
    completed: int
    pauses: tuple[Pause, ...]
    releases: tuple[Release, ...]
    batches: tuple[Batch, ...]
    has_broker: bool


def load_status(services: WebServices) -> StatusView:
    """The status; its price does not depend on how many resets there are.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    minute, window = services.samples.lately(MINUTE_SECONDS, WINDOW_SECONDS)
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
    minute: Lately | None,
    pauses: tuple[Pause, ...],
    *,
    has_broker: bool,
) -> QueueView:
    workers = len(services.dues.workers_seen(queue))
    hints = services.hints.waiting(queue) if has_broker else None
    if queue not in DUE_QUEUES:
        depth, due, oldest_seconds = _backlog(services, queue)
        return QueueView(
            queue=queue,
            depth=depth,
            due=due,
            oldest_seconds=oldest_seconds,
            workers=workers,
            hints=hints,
        )
    look = services.dues.look(queue)
    paused = [each for each in pauses if (each.scope, each.name) == (Scope.QUEUE, queue.value)]
    return QueueView(
        queue=queue,
        depth=look.waiting,
        due=look.due,
        oldest_seconds=look.oldest_age_seconds,
        in_per_minute=minute.per_minute(f"in:{queue.value}") if minute else None,
        out_per_minute=minute.per_minute(f"out:{queue.value}") if minute else None,
        workers=workers,
        hints=hints,
        pause=paused[0] if paused else None,
    )


def _backlog(services: WebServices, queue: Queue) -> tuple[int, int, float]:
    if queue is Queue.RECEIPTS:
        depth = services.receipts.depth()
        return depth, depth, 0.0
    known = [each.subscription_id for each in services.subscriptions.all()]
    standings = services.webhooks.look(known).values()
    return (
        sum(each.waiting for each in standings),
        sum(each.due for each in standings),
        max((each.oldest_age_seconds for each in standings), default=0.0),
    )


def _figures(
    services: WebServices,
    view: ProviderView,
    minute: Lately | None,
    window: Lately | None,
    totals: Mapping[str, int],
) -> ProviderFigures:
    last_ms, heard = totals.get(f"{LAST}{view.name}"), is_heard(services.settings, view.name)
    last_at = moment(last_ms) if last_ms else None
    if window is None or minute is None:
        return ProviderFigures(view=view, calls=None, last_callback_at=last_at, is_heard=heard)
    before = f"p:{view.name}:"
    told = {n[len(before) :]: v for n, v in window.counted.items() if n.startswith(before)}
    by_outcome = {outcome: told.get(f"{outcome}:n", 0) for outcome in Outcome}
    calls = sum(by_outcome.values())
    bad = sum(by_outcome[outcome] for outcome in BAD)
    return ProviderFigures(
        view=view,
        calls=calls,
        error_rate=bad / calls if calls else None,
        refusal_rate=by_outcome[Outcome.PERMANENT] / calls if calls else None,
        p95_ms=_p95_ms(told, slowest_ms=round(services.settings.provider_timeout_seconds * 1000)),
        ripe=by_outcome[Outcome.ACCEPTED] - minute.counted.get(f"{before}accepted:n", 0),
        callbacks=window.counted.get(f"cb:{view.name}:received", 0),
        refused_callbacks=window.counted.get(f"cb:{view.name}:refused", 0),
        last_callback_at=last_at,
        is_heard=heard,
    )


def _p95_ms(told: Mapping[str, int], *, slowest_ms: int) -> int | None:
    """Of nineteen calls in twenty none took longer; the bound of a histogram's bucket."""
    buckets = [
        (bound, sum(told.get(f"{outcome}:b{bound}", 0) for outcome in Outcome))
        for bound in DURATION_BUCKETS_MS
    ]
    buckets.append((slowest_ms, sum(told.get(f"{outcome}:binf", 0) for outcome in Outcome)))
    total, running = sum(number for _, number in buckets), 0
    for bound, number in buckets:
        running += number
        if total and running >= total * 0.95:
            return min(bound, slowest_ms)
    return None
