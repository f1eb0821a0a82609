"""The use case of looking at the whole installation: queues, providers, pauses, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from shared.models import DUE_QUEUES, Outcome, Queue
from shared.store.batch_records import Batch
from shared.store.claims import DURATION_BUCKETS_MS
from shared.store.pauses import Pause, Release, Scope
from shared.store.samples import Lately
from web.house import House
from web.providers import ProviderView, look_at_providers

MINUTE_SECONDS, WINDOW_SECONDS = 60, 300
# Whose trouble it is: a refusal for good is about the recipient, and none of the provider's.
BAD = (Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.DOUBT)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as it stands."""

    queue: Queue
    depth: int | None = None  # resets that are not final; None: it has no due set
    due: int | None = None
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
    error_rate: float | None  # 0 to 1
    p95_ms: int | None  # an upper bound


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


def look_at_status(house: House) -> StatusView:
    """The status; its price does not depend on how many resets there are.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    minute, window = house.samples.lately(MINUTE_SECONDS, WINDOW_SECONDS)
    totals = house.counters.totals()
    pauses, has_broker = tuple(house.pauses.all()), house.hints.is_connected()
    reached: Counter[str] = Counter()
    for name, value in totals.items():
        if name.startswith("to:"):
            reached[name.rpartition(":")[2]] += value
    return StatusView(
        queues=tuple(_queue(house, q, minute, pauses, has_broker=has_broker) for q in Queue),
        providers=tuple(_figures(house, view, window) for view in look_at_providers(house)),
        open={n[4:]: v for n, v in sorted(totals.items()) if n.startswith("now:") and v},
        reached=dict(sorted(reached.items())),
        completed=totals["completed"],
        pauses=pauses,
        releases=tuple(house.pauses.releases()),
        batches=tuple(house.batches.active()),
        has_broker=has_broker,
    )


def _queue(
    house: House,
    queue: Queue,
    minute: Lately | None,
    pauses: tuple[Pause, ...],
    *,
    has_broker: bool,
) -> QueueView:
    workers = len(house.dues.workers_seen(queue))
    hints = house.hints.waiting(queue) if has_broker else None
    if queue not in DUE_QUEUES:
        return QueueView(queue=queue, workers=workers, hints=hints)
    look = house.dues.look(queue)
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


def _figures(house: House, view: ProviderView, window: Lately | None) -> ProviderFigures:
    if window is None:
        return ProviderFigures(view=view, calls=None, error_rate=None, p95_ms=None)
    before = f"p:{view.name}:"
    told = {n[len(before) :]: v for n, v in window.counted.items() if n.startswith(before)}
    by_outcome = {outcome: told.get(f"{outcome}:n", 0) for outcome in Outcome}
    calls = sum(by_outcome.values())
    bad = sum(by_outcome[outcome] for outcome in BAD)
    return ProviderFigures(
        view=view,
        calls=calls,
        error_rate=bad / calls if calls else None,
        p95_ms=_p95_ms(told, slowest_ms=round(house.settings.provider_timeout_seconds * 1000)),
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
