"""What is wrong, the worst first; pure, on figures that were read."""

from __future__ import annotations

from collections.abc import Iterator

from shared.models import Channel, Queue
from shared.store.admin.circuits import CircuitState
from shared.store.admin.pauses import Scope
from web.admin.providers import ProviderView
from web.admin.status import QueueView, StatusView
from web.explain.wording import at, length_of, trouble

LATE_SECONDS = 30  # a person gives up about then
BEHIND_SECONDS, MAX_SURPLUS = 5, 1.2  # late by so much while more come than go
LATE_BULK_SECONDS = 300
SLOW = "too few workers or threads, or a slow provider (p95 below)"
MAX_ERRORS, FEWEST_CALLS, FEW_CALLS = 0.2, 20, 5


def find_alerts(status: StatusView) -> list[str]:
    """A sentence for each thing that is wrong, with what to do; the first is the one to mend."""
    checks = (
        *(_nobody_works, _urgent, _channels, _broker, _providers, _callbacks),
        *(_others, _pauses, _batches),
    )
    return [words for check in checks for words in check(status)]


def _of(status: StatusView, queue: Queue) -> QueueView:
    return next(each for each in status.queues if each.queue is queue)


def _nobody_works(status: StatusView) -> Iterator[str]:
    if not _of(status, Queue.URGENT).workers:
        yield (
            "No worker of the urgent queue was seen in the last 5 s: start one "
            "(`python -m worker --queues urgent,receipts`)."
        )


def _urgent(status: StatusView) -> Iterator[str]:
    urgent = _of(status, Queue.URGENT)
    if urgent.pause:
        yield (
            f"The urgent queue has been paused by {urgent.pause.by} since {at(urgent.pause.since)} "
            f"({urgent.pause.reason}): `keyturn resume queue urgent --reason …`."
        )
    come, gone = urgent.in_per_minute or 0, urgent.out_per_minute or 0
    pace = f"in the last minute {come:.0f} came and {gone:.0f} went"
    if urgent.oldest_seconds > LATE_SECONDS:
        yield f"The oldest reset has been due for {urgent.oldest_seconds:.0f} s; {pace}: {SLOW}."
    elif urgent.oldest_seconds > BEHIND_SECONDS and come > gone * MAX_SURPLUS:
        yield f"The urgent queue falls behind, {urgent.due} are due; {pace}: {SLOW}."


def _channels(status: StatusView) -> Iterator[str]:
    for channel in _lost_channels(status):
        views = [each for each in status.providers if each.channel is channel]
        told = "; ".join(f"{view.name} {_standing(view)}" for view in views)
        yield f"Nothing goes out by {channel}: {told}. What waits goes by itself once one works."


def _lost_channels(status: StatusView) -> list[Channel]:
    """Those with providers, none of which may be called."""
    found = []
    for channel in Channel:
        views = [each for each in status.providers if each.channel is channel]
        if views and all(v.pause or v.circuit.state is CircuitState.OPEN for v in views):
            found.append(channel)
    return found


def _standing(view: ProviderView) -> str:
    if view.pause:
        since, reason = at(view.pause.since), view.pause.reason
        return f"has been paused by {view.pause.by} since {since} ({reason})"
    circuit = view.circuit
    since, reason = at(circuit.opened_at), trouble(circuit.reason)
    return f"is left alone since {since} ({reason}) and tried again in {circuit.wait_seconds:.0f} s"


def _broker(status: StatusView) -> Iterator[str]:
    if not status.has_broker:
        yield (
            "The broker does not answer: sweepers deliver by themselves, at their own pace; "
            "bring it back."
        )


def _providers(status: StatusView) -> Iterator[str]:
    lost = _lost_channels(status)
    for view in status.providers:
        circuit = view.circuit
        if circuit.state is CircuitState.OPEN:
            if view.channel not in lost:
                yield f"{view.name} {_standing(view)}; others carry its messages meanwhile."
        elif circuit.state is CircuitState.HALF_OPEN:
            yield (
                f"{view.name} failed since {at(circuit.opened_at)} ({trouble(circuit.reason)}); "
                "one message at a time tries whether it works again."
            )
        elif (view.calls or 0) >= FEWEST_CALLS and (view.error_rate or 0) > MAX_ERRORS:
            if circuit.tries >= FEW_CALLS and circuit.error_rate < MAX_ERRORS:
                continue  # it was so, and has not been for half a minute
            yield (
                f"{view.error_rate:.0%} of {view.calls} calls to {view.name} failed in the last "
                "five minutes."
            )
        if (view.calls or 0) >= FEWEST_CALLS and (view.refusal_rate or 0) > MAX_ERRORS:
            yield (
                f"{view.name} refused {view.refusal_rate:.0%} of {view.calls} messages for good in "
                "the last five minutes: is it our sender, our texts? `keyturn explain` one of them."
            )


def _callbacks(status: StatusView) -> Iterator[str]:
    for each in status.providers:
        name = each.name
        if each.refused_callbacks:
            yield (
                f"{each.refused_callbacks} callbacks in {name}'s name were refused in the last "
                "five minutes: is its key right (`callback.refused` in the logs says why)?"
            )
        is_silent = each.is_heard and not each.callbacks and each.ripe >= FEWEST_CALLS
        if is_silent and not each.refused_callbacks:
            last = each.last_callback_at
            yield (
                f"{name} took {each.ripe} messages more than a minute ago and reported on "
                f"none{f', the last time at {at(last)}' if last else ''}: does it still call us?"
            )


def _others(status: StatusView) -> Iterator[str]:
    for each in status.queues:
        if each.queue is not Queue.URGENT and not each.workers:
            yield f"No worker of the {each.queue} queue was seen in the last 5 s: start one."
    bulk = _of(status, Queue.BULK)
    if bulk.oldest_seconds > LATE_BULK_SECONDS and not bulk.pause:
        yield f"The oldest of the bulk queue has been due for {length_of(bulk.oldest_seconds)}."


def _pauses(status: StatusView) -> Iterator[str]:
    told = {(Scope.QUEUE, Queue.URGENT.value)} | {
        (Scope.PROVIDER, each.name)
        for each in status.providers
        if each.channel in _lost_channels(status)
    }
    for pause in status.pauses:
        if (pause.scope, pause.name) not in told:
            yield (
                f"The {pause.scope} {pause.name} has been paused by {pause.by} since "
                f"{at(pause.since)} ({pause.reason})."
            )
    for release in status.releases:
        if release.too_late:
            yield (
                f"{release.too_late} of the {release.moved} resets let go of {release.scope} "
                f"{release.name} expire before their turn: choose a higher rate."
            )


def _batches(status: StatusView) -> Iterator[str]:
    for batch in status.batches:
        if batch.state == "paused":
            yield f"The batch {batch.batch_id} is paused."
