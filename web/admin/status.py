"""The use case of looking at the whole installation: queues, providers, pauses, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from shared.models import DUE_QUEUES, Queue
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.admin.statistics import Lately
from shared.store.batches import Batch
from web.admin.providers import ProviderView, load_providers, read_activity
from web.services import WebServices


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
class StatusView:
    """All of it."""

    queues: tuple[QueueView, ...]
    providers: tuple[ProviderView, ...]
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
    activity = read_activity(services)
    minute, totals = activity.minute, activity.totals
    pauses, has_broker = tuple(services.pauses.all()), services.hints.is_connected()
    reached: Counter[str] = Counter()
    for name, value in totals.items():
        if name.startswith("to:"):
            reached[name.rpartition(":")[2]] += value
    return StatusView(
        queues=tuple(_queue(services, q, minute, pauses, has_broker=has_broker) for q in Queue),
        providers=tuple(load_providers(services, activity)),
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
