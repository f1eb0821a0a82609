"""Find what is wrong in a status, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self
from urllib.parse import quote

from shared.models import Channel, Queue
from shared.store.admin.circuits import CircuitState
from shared.store.admin.pauses import Pause, Scope
from shared.store.batches import BatchState
from web.admin.providers import ProviderView
from web.admin.status import QueueView, StatusView
from web.explain.wording import (
    describe_failure,
    describe_unset_channel,
    format_duration,
    format_time,
)
from web.webhooks.service import describe_subscription

LATE_SECONDS = 30  # a person gives up about then
BEHIND_SECONDS, MAX_SURPLUS = 5, 1.2  # late by so much while more come than go
LATE_BULK_SECONDS = 300
MANY_WRONG_CODES = 50  # in five minutes
SLOW = "too few workers or threads, or a slow provider (p95 below)"
SLOW_MS = 1000  # of a provider's p95 while another could carry its messages
CLOSED = CircuitState.CLOSED
MAX_STARTS = 2  # of each worker in five minutes
MAX_ERRORS, MIN_CALLS, MIN_RECENT_CALLS = 0.2, 20, 5


class Alert(str):
    """What is wrong, in words; `buttons` of the console mend it: their words and their paths."""

    __slots__ = ("buttons",)
    buttons: tuple[tuple[str, str], ...]

    def __new__(cls, text: str, *buttons: tuple[str, str]) -> Self:
        """Return the sentence with its buttons."""
        made = super().__new__(cls, text)
        made.buttons = buttons
        return made


def _resume(scope: str, name: str, word: str = "Resume") -> tuple[str, str]:
    return f"{word} {name}", f"/pauses/{scope}/{quote(name)}/resume"


def find_alerts(status: StatusView) -> list[str]:
    """Return a sentence for each thing that is wrong, with what to do; the first is the worst."""
    checks = (
        *(_store, _urgent_queue, _channels, _broker, _providers, _callbacks),
        *(_guesses, _sms, _own_texts, _other_queues, _subscribers, _restarts, _pauses, _batches),
        *(_unset_channels, _senders),
    )
    return [text for check in checks for text in check(status)]


def _store(status: StatusView) -> Iterator[str]:
    if status.refusal:
        yield f"Redis is {status.refusal}. Calls get 503 and nothing is sent until it takes writes."


def _urgent_queue(status: StatusView) -> Iterator[str]:
    urgent = _queue(status, Queue.URGENT)
    if not urgent.workers:
        yield (
            "No worker of the urgent queue was seen in the last 5 s: start one "
            "(`python -m worker --queues urgent,receipts`)."
        )
    if urgent.pause:
        text = (
            f"The urgent queue {_paused(urgent.pause)}: `keyturn resume queue urgent --reason …`."
        )
        yield Alert(text, _resume("queue", "urgent"))
    come, gone = urgent.in_per_minute or 0, urgent.out_per_minute or 0
    rates = f"in the last minute {come:.0f} came and {gone:.0f} went"
    if urgent.oldest_seconds > LATE_SECONDS:
        text = f"The oldest reset has been due for {urgent.oldest_seconds:.0f} s; {rates}: {SLOW}."
        yield Alert(text, *_spare_provider(status))
    elif urgent.oldest_seconds > BEHIND_SECONDS and come > gone * MAX_SURPLUS:
        text = f"The urgent queue falls behind, {urgent.due} are due; {rates}: {SLOW}."
        yield Alert(text, *_spare_provider(status))


def _spare_provider(status: StatusView) -> Iterator[tuple[str, str]]:
    """Yield the buttons for slow providers without which another carries their channel."""
    working = [v for v in status.providers if not v.pause and v.circuit.state is CLOSED]
    for each in working:
        others = [v for v in working if v.channel is each.channel and v.name != each.name]
        if others and (each.p95_ms or 0) > SLOW_MS:
            yield f"Pause {each.name}", f"/pauses/provider/{each.name}/pause"


def _channels(status: StatusView) -> Iterator[str]:
    for channel in _lost_channels(status):
        views = _providers_of(status, channel)
        states = "; ".join(f"{v.name} {_state(v)}" for v in views)
        resume = " or ".join(
            f"`keyturn provider resume {v.name} --reason …`" for v in views if v.pause
        )
        if all(v.pause for v in views):
            then = f"What waits goes once one is resumed: {resume}"
        else:
            names = " or ".join(v.name for v in views if not v.pause)
            then = f"What waits goes by itself once {'one' if not resume else names} works"
            then += f", or at once: {resume}" if resume else ""
        yield Alert(
            f"Nothing goes out by {channel}: {states}. {then}.",
            *(_resume("provider", v.name, "Resume" if v.pause else "Try now:") for v in views),
        )


def _broker(status: StatusView) -> Iterator[str]:
    if not status.has_broker:
        yield (
            "The broker does not answer: sweepers deliver by themselves, at their own pace; "
            "bring it back."
        )


def _providers(status: StatusView) -> Iterator[str]:
    lost = _lost_channels(status)
    for each in status.providers:
        circuit = each.circuit
        if circuit.state is CircuitState.OPEN:
            if each.channel not in lost:
                text = f"{each.name} {_state(each)}; others carry its messages meanwhile."
                yield Alert(text, _resume("provider", each.name, "Try now:"))
        elif circuit.state is CircuitState.HALF_OPEN:
            since, reason = format_time(circuit.opened_at), describe_failure(circuit.reason)
            yield (
                f"{each.name} has its circuit half open, after it opened at {since} ({reason}): "
                "one message at a time probes whether it works again."
            )
        elif _is_failing(each):
            yield Alert(
                f"{each.error_rate:.0%} of {each.calls} calls to {each.name} failed in the last "
                "five minutes.",
                (f"Pause {each.name}", f"/pauses/provider/{each.name}/pause"),
            )
        if (each.calls or 0) >= MIN_CALLS and (each.refusal_rate or 0) > MAX_ERRORS:
            yield Alert(
                f"{each.name} refused {each.refusal_rate:.0%} of {each.calls} messages for good in "
                "the last five minutes: is it our sender, our texts? `keyturn explain` one.",
                ("Show them", f"/resets?provider={each.name}&status=failed"),
            )


def _is_failing(each: ProviderView) -> bool:
    """Return whether many calls failed in five minutes, and still do in the circuit's window."""
    has_failed = (each.calls or 0) >= MIN_CALLS and (each.error_rate or 0) > MAX_ERRORS
    circuit = each.circuit
    has_recovered = circuit.calls >= MIN_RECENT_CALLS and circuit.error_rate < MAX_ERRORS
    return has_failed and not has_recovered


def _callbacks(status: StatusView) -> Iterator[str]:
    for each in status.providers:
        name = each.name
        if each.refused_callbacks:
            yield (
                f"{each.refused_callbacks} callbacks in {name}'s name were refused in the last "
                "five minutes: is its key right (`callback.refused` in the logs says why)?"
            )
        elif each.has_callbacks and not each.callbacks and each.reportable >= MIN_CALLS:
            last = each.last_callback_at
            yield (
                f"{name} took {each.reportable} messages more than a minute ago and reported on "
                f"none{f', the last time at {format_time(last)}' if last else ''}: does it still "
                "call us?"
            )


def _guesses(status: StatusView) -> Iterator[str]:
    if status.wrong_codes >= MANY_WRONG_CODES:
        yield (
            f"{status.wrong_codes} wrong codes in the last five minutes: codes are guessed at "
            "large; the sources stand below, links work on."
        )
    for reset_id, user_id in status.void_codes.items():
        yield Alert(
            f"A hundred wrong codes ended the typed code of {reset_id}, its link works on; "
            f"`keyturn limit clear --user {user_id} --reason …` lets the code be typed again.",
            ("Let it be typed again", f"/users/{quote(user_id, safe='')}/limits"),
        )


def _own_texts(status: StatusView) -> Iterator[str]:
    for place, number in status.unfilled.items():
        language, _, org_id = place.partition(":")
        yield (
            f"{number} sentences of {org_id}'s own texts in {language} could not be filled in the "
            "last five minutes, and the built-in ones went out: `text.unfilled` in the logs names "
            "them, `keyturn message preview` shows them."
        )


def _sms(status: StatusView) -> Iterator[str]:
    for each in status.sms:
        if each.by == "rule" and each.level != "watch":
            yield (
                f"SMS to {each.prefix} ({each.level}, by the rule {each.rule}) until "
                f"{format_time(each.until)}, {each.refused} refused: {each.reason}; are they "
                f"people, `keyturn sms lift '{each.prefix}' --reason …`."
            )


def _other_queues(status: StatusView) -> Iterator[str]:
    for each in status.queues:
        if each.queue is not Queue.URGENT and not each.workers:
            yield f"No worker of the {each.queue} queue was seen in the last 5 s: start one."
    bulk = _queue(status, Queue.BULK)
    if bulk.oldest_seconds > LATE_BULK_SECONDS and not bulk.pause:
        age = format_duration(bulk.oldest_seconds)
        yield f"The oldest of the bulk queue has been due for {age}."


def _subscribers(status: StatusView) -> Iterator[str]:
    for subscription, backlog in status.subscribers:
        hook = subscription.subscription_id
        if subscription.disabled or backlog.is_failing or backlog.dead:
            verb = "enable" if subscription.disabled else "show" if backlog.is_failing else "replay"
            yield Alert(
                f"The subscriber {hook} of {subscription.org_id} "
                f"{describe_subscription(subscription, backlog)}: `keyturn webhook {verb} {hook}`.",
                ("Show it", f"/webhooks/{hook}"),
            )


def _restarts(status: StatusView) -> Iterator[str]:
    for each in status.queues:
        if each.started > MAX_STARTS * max(1, each.workers):
            yield (
                f"Workers of the {each.queue} queue started {each.started} times in the last five "
                "minutes: do they end (`process.ended`, `worker.stopped` or nothing in the logs)?"
            )
    if status.unreadable:
        yield (
            f"{status.unreadable} messages in the broker were no hints of Keyturn in the last five "
            "minutes, and were dropped (`hint.unreadable`): what else writes there?"
        )


def _pauses(status: StatusView) -> Iterator[str]:
    named_above = {(Scope.QUEUE, Queue.URGENT.value)} | {
        (Scope.PROVIDER, view.name)
        for channel in _lost_channels(status)
        for view in _providers_of(status, channel)
    }
    for pause in status.pauses:
        if (pause.scope, pause.name) not in named_above:
            text = f"The {pause.scope} {pause.name} {_paused(pause)}."
            yield Alert(text, _resume(pause.scope, pause.name))
    for release in status.releases:
        if release.too_late:
            yield Alert(
                f"{release.too_late} of the {release.moved} resets released for {release.scope} "
                f"{release.name} expire before their turn: choose a higher rate.",
                _resume(release.scope, release.name, "Another rate for"),
            )


def _batches(status: StatusView) -> Iterator[str]:
    for batch in status.batches:
        if batch.state is BatchState.PAUSED:
            batch_id = batch.batch.batch_id
            yield Alert(
                f"The batch {batch_id} is {batch.sentence}: `keyturn batch resume {batch_id}`.",
                ("Resume", f"/batches/{batch_id}/resume"),
            )


def _unset_channels(status: StatusView) -> Iterator[str]:
    for channel in status.unset_channels:
        yield f"{describe_unset_channel(channel)}."


def _senders(status: StatusView) -> Iterator[str]:
    if status.unverified_senders:
        first, *others = status.unverified_senders
        more = f" and {len(others)} more" if others else ""
        yield (
            f"The From of the organisation {first}{more} is not verified, so mails carry the "
            f"installation's: `keyturn org sender check {first} --reason …`."
        )


def _queue(status: StatusView, queue: Queue) -> QueueView:
    return next(each for each in status.queues if each.queue is queue)


def _providers_of(status: StatusView, channel: Channel) -> list[ProviderView]:
    return [each for each in status.providers if each.channel is channel]


def _lost_channels(status: StatusView) -> list[Channel]:
    """Return the channels with providers, none of which may be called."""
    by_channel = {channel: _providers_of(status, channel) for channel in Channel}
    return [
        channel
        for channel, views in by_channel.items()
        if views and all(v.pause or v.circuit.state is CircuitState.OPEN for v in views)
    ]


def _state(view: ProviderView) -> str:
    if view.pause:
        return _paused(view.pause)
    circuit = view.circuit
    since, reason = format_time(circuit.opened_at), describe_failure(circuit.reason)
    return f"has its circuit open since {since} ({reason}), retry in {circuit.wait_seconds:.0f} s"


def _paused(pause: Pause) -> str:
    return f"has been paused by {pause.by} since {format_time(pause.since)} ({pause.reason})"
