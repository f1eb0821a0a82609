"""What is wrong, the worst first; pure, on figures that were read."""

from __future__ import annotations

from collections.abc import Iterator

from shared.models import Channel, Queue
from shared.store.circuits import CircuitState
from shared.store.pauses import Scope
from web.status import QueueView, StatusView
from web.verdict_words import REASONS, at, length_of

LATE_SECONDS = 30  # a person gives up about then
LATE_BULK_SECONDS = 300
MOST_ERRORS, FEWEST_CALLS = 0.2, 20


def find_troubles(status: StatusView) -> list[str]:
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
    if urgent.oldest_seconds > LATE_SECONDS:
        yield (
            f"The oldest reset has been due for {urgent.oldest_seconds:.0f} s: too few workers, or "
            "a slow provider (p95 below)."
        )


def _channels(status: StatusView) -> Iterator[str]:
    for channel in Channel:
        views = [each.view for each in status.providers if each.view.channel is channel]
        lost = [v for v in views if v.pause or v.circuit.state is CircuitState.OPEN]
        if views and len(lost) == len(views):
            names = ", ".join(view.name for view in views)
            yield (
                f"Nothing goes out by {channel}: {names} {'is' if len(views) == 1 else 'are'} "
                "paused or left alone (`keyturn provider list`)."
            )


def _broker(status: StatusView) -> Iterator[str]:
    if not status.has_broker:
        yield (
            "The broker does not answer: sweepers deliver by themselves, at their own pace; "
            "bring it back."
        )


def _providers(status: StatusView) -> Iterator[str]:
    for each in status.providers:
        name, circuit = each.view.name, each.view.circuit
        if circuit.state is CircuitState.OPEN:
            reason = REASONS.get(circuit.reason or "", circuit.reason or "it fails")
            yield (
                f"{name} is left alone since {at(circuit.opened_at)} ({reason}); it is tried again "
                f"in {circuit.wait_seconds:.0f} s."
            )
        elif (each.calls or 0) >= FEWEST_CALLS and (each.error_rate or 0) > MOST_ERRORS:
            yield (
                f"{each.error_rate:.0%} of {each.calls} calls to {name} failed in the last five "
                "minutes."
            )


def _callbacks(status: StatusView) -> Iterator[str]:
    for each in status.providers:
        name = each.view.name
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
    for pause in status.pauses:
        if (pause.scope, pause.name) != (Scope.QUEUE, Queue.URGENT.value):
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
