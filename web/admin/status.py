"""Collect the status of the installation: queues, providers, pauses, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from shared.models import DUE_QUEUES, Queue
from shared.settings.types import BrokerKind
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.admin.prefixes import PrefixState
from shared.store.admin.statistics import UNFILLED
from shared.store.codes import GuessCount
from shared.store.webhooks.deliveries import Backlog
from shared.store.webhooks.subscriptions import Subscription
from web.admin.providers import Activity, ProviderView, load_providers, read_activity
from web.batches.progress import Progress, read_each
from web.services import WebServices

MAX_GUESSES = 100


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
    started: int = 0  # workers, in the last five minutes
    hints: int | None  # None: the broker does not answer, or there is none
    pause: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """The whole installation."""

    queues: tuple[QueueView, ...]
    providers: tuple[ProviderView, ...]
    open: Mapping[str, int]  # resets that are not final, by status
    reached: Mapping[str, int]  # by status, since the installation
    completed: int
    pauses: tuple[Pause, ...]
    releases: tuple[Release, ...]
    batches: tuple[Progress, ...]
    subscribers: tuple[tuple[Subscription, Backlog], ...]
    has_broker: bool
    unset_channels: tuple[str, ...] = ()  # left without a provider
    unverified_senders: tuple[str, ...] = ()  # organisations whose own From is not used yet
    refusal: str | None = None  # why Redis takes no writes
    unreadable: int = 0  # messages in the broker that were no hints, in the last five minutes
    guesses: tuple[GuessCount, ...] = ()  # the most tries first
    wrong_codes: int = 0  # in the last five minutes
    unfilled: Mapping[str, int] = field(default_factory=dict)  # language:organisation → sentences
    sms: tuple[PrefixState, ...] = ()  # under a rule or an operator's word
    void_codes: Mapping[str, str] = field(default_factory=dict)  # live reset → its user
    forgotten: int = 0  # requests of people who forgot, not looked up yet
    forgotten_dropped: int = 0  # too old or unreadable, since the beginning


def load_status(services: WebServices) -> StatusView:
    """Return the status, in a time that does not depend on the number of resets.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    activity, refusal = read_activity(services), services.server.refusal()
    totals, lately = activity.totals, activity.window.counts if activity.window else {}
    pauses, has_broker = tuple(services.pauses.all()), services.hints.is_connected()
    guesses = services.code_store.list_guesses()[:MAX_GUESSES]
    subscriptions = services.subscriptions.all()
    backlogs = services.webhooks.read_backlogs([each.subscription_id for each in subscriptions])
    subscribers = tuple((each, backlogs[each.subscription_id]) for each in subscriptions)
    reached: Counter[str] = Counter()
    for name, value in totals.items():
        if name.startswith("to:"):
            reached[name.rpartition(":")[2]] += value
    return StatusView(
        queues=tuple(
            _queue(services, q, activity, pauses, backlogs, has_broker=has_broker) for q in Queue
        ),
        # The script of their circuits is one that writes.
        providers=() if refusal else tuple(load_providers(services, activity)),
        open={n[4:]: v for n, v in sorted(totals.items()) if n.startswith("now:") and v},
        reached=dict(sorted(reached.items())),
        completed=totals["completed"],
        pauses=pauses,
        releases=tuple(services.pauses.releases()),
        batches=tuple(read_each(services, services.batches.active())),
        subscribers=subscribers,
        has_broker=has_broker,
        unset_channels=services.settings.unset_channels,
        unverified_senders=tuple(services.senders.unverified()),
        refusal=refusal,
        unreadable=lately.get("unread", 0),
        guesses=tuple(guesses),
        wrong_codes=lately.get("wrong:typed", 0) + lately.get("wrong:link", 0),
        unfilled={
            name.removeprefix(UNFILLED): number
            for name, number in lately.items()
            if name.startswith(UNFILLED) and number
        },
        sms=tuple(services.prefixes.list_states(most=MAX_GUESSES)),
        void_codes=_find_void_codes(services, guesses),
        forgotten=services.forgot.depth(),
        forgotten_dropped=totals["forgot:late"] + totals["forgot:unreadable"],
    )


def _find_void_codes(services: WebServices, guesses: list[GuessCount]) -> dict[str, str]:
    users = dict.fromkeys(each.user_id for each in guesses)
    known = ((user, each) for user in users for each in services.code_store.list_known(user))
    return {each.reset_id: user for user, each in known if each.is_live and not each.may_be_typed}


def _queue(
    services: WebServices,
    queue: Queue,
    activity: Activity,
    pauses: tuple[Pause, ...],
    backlogs: Mapping[str, Backlog],
    *,
    has_broker: bool,
) -> QueueView:
    depth, due, oldest_seconds = _depth(services, queue, backlogs.values())
    counts = activity.minute if queue in DUE_QUEUES else None
    window, is_alone = activity.window, services.settings.broker_kind is BrokerKind.NONE
    return QueueView(
        queue=queue,
        depth=depth,
        due=due,
        oldest_seconds=oldest_seconds,
        in_per_minute=counts.per_minute(f"in:{queue.value}") if counts else None,
        out_per_minute=counts.per_minute(f"out:{queue.value}") if counts else None,
        workers=len(services.dues.workers_seen(queue)),
        started=window.counts.get(f"ws:{queue.value}", 0) if window else 0,
        hints=services.hints.waiting(queue) if has_broker and not is_alone else None,
        pause=next((p for p in pauses if p.scope is Scope.QUEUE and p.name == queue.value), None),
    )


def _depth(
    services: WebServices, queue: Queue, backlogs: Collection[Backlog]
) -> tuple[int, int, float]:
    """Return what a queue holds, what of it is due, and how long the oldest is overdue."""
    if queue in DUE_QUEUES:
        view = services.dues.look(queue)
        return view.waiting, view.due, view.oldest_age_seconds
    if queue is Queue.RECEIPTS:
        depth = services.receipts.depth()
        return depth, depth, 0.0
    return (
        sum(each.waiting for each in backlogs),
        sum(each.due for each in backlogs),
        max((each.oldest_age_seconds for each in backlogs), default=0.0),
    )
