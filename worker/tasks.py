"""Register the Celery tasks, one call each with an id; drop what is no hint at one of them.

Task events are sent to Flower in batches.

What a task returns is stored nowhere; Flower shows it: a word of how it ended, or a count.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, ClassVar, TypeAlias

import structlog
from celery import Celery, bootsteps, signals
from kombu.exceptions import KombuError
from kombu.utils.json import loads

from shared.broker import is_redis
from shared.models import Queue
from shared.queue import SENDING, Task
from shared.store.admin.statistics import CounterStore
from shared.tracing import is_tracing
from worker.batches.feeder import BatchFeeder
from worker.bulk.delivery import BulkDelivery
from worker.delivery import Delivery
from worker.forgot import ForgotProcessor
from worker.receipts import ReceiptProcessor
from worker.webhooks import SubscriberRefusedError, WebhookSender

log = structlog.get_logger()

FLUSH_SECONDS = 1.0  # how much later Flower sees what happens
MAX_GATHERED = 1000  # events; beyond, they are sent at once
# Where deliveries follow each other so soon on the average of the last few dozen, a thread that is
# done takes the next hints from the broker itself: Celery's loop costs as much as two deliveries.
BUSY_SECONDS, WEIGHT = 0.02, 0.1
MAX_MORE = 100  # deliveries of a task beyond its own; Flower shows one row for them
# Of the hints that wait a thread takes one in eight, first a few, then at most as many as may be in
# doubt at once if the process is killed or an answer is lost.
SHARE, FEWEST, MAX_TOGETHER = 8, 4, 25
# The newest hints stand first in kombu's list.
TAKE = "return {redis.call('RPOP', KEYS[1], ARGV[1]) or {}, redis.call('LLEN', KEYS[1])}"
SINGLY_SECONDS = 10.0  # once more than a quarter turned out to go alone
EMPTY_SECONDS, FAILED_SECONDS = 0.05, 1.0  # for which a queue is not asked again


Call: TypeAlias = Callable[[str], object]


class DeliveryFailedError(Exception):
    """An error of ours, by its name alone: its own text may hold personal data."""


class TaskDependencies:
    """What the tasks work with, set once the worker process is set up."""

    delivery: Delivery
    bulk: BulkDelivery
    receipts: ReceiptProcessor
    feeder: BatchFeeder
    webhooks: WebhookSender
    forgot: ForgotProcessor


class HintTaker:
    """Takes further hints out of the broker while the process is busy; threads may share it.

    Resets by e-mail go out together where a provider takes many, the more wait, the more to a call.
    A hint that is lost on the way is found by a sweeper, as any other.
    """

    def __init__(self, app: Celery, needs: TaskDependencies) -> None:
        """Follow the tasks of this process; connect with the first hint that is taken."""
        self._app, self._needs, self._channel, self._lock = app, needs, None, Lock()
        self._ended_at = self._ask_at = self._together_at = 0.0
        self._gap_seconds = 1.0  # between the ends of deliveries
        self._waiting = 0  # hints in the broker when it was last asked
        self._most = FEWEST  # that are sent together
        self.is_stopped, self.takes_many = False, False
        signals.task_postrun.connect(self.take, weak=False)

    def take(self, task: Any, **_: Any) -> None:
        """Run what the next hints say, in the thread that has just ended a delivery."""
        self._note_ends(1)
        left = MAX_MORE if task.name in SENDING.values() else 0
        while left > 0 and self._gap_seconds < BUSY_SECONDS:
            channel, texts = self._pop(min(left, self._number()))
            if not texts:
                break
            left -= len(texts)
            by_email: list[str] = []
            for task_name, about in self._read(channel, texts):
                if task_name == Task.SEND_EMAIL and len(texts) > 1:
                    by_email.append(about)
                else:
                    self._run(task_name, about)
            self._deliver_together(by_email)
            self._note_ends(len(texts))

    def _number(self) -> int:
        """Return how many hints to take: more than one only if they can go out in one call."""
        if not self.takes_many or is_tracing() or monotonic() < self._together_at:
            return 1
        number = min(self._most, self._waiting // SHARE)
        return number if number >= FEWEST else 1

    def _note_ends(self, number: int) -> None:
        before, self._ended_at = self._ended_at, monotonic()
        gap = min(1.0, self._ended_at - before) / number
        self._gap_seconds += (1 - (1 - WEIGHT) ** number) * (gap - self._gap_seconds)

    def _read(self, channel: Any, texts: Sequence[Any]) -> Iterator[tuple[str, str]]:
        for text in texts:
            try:
                message = channel.message_to_python(loads(text))  # type: ignore[no-untyped-call]
                _check_hint(message)
                yield message.headers["task"], message.payload[0][0]
            except Exception as error:  # noqa: BLE001 - kombu repeats what decompressing raised
                HintFilter.dropped.append(type(error).__name__)

    def _deliver_together(self, reset_ids: list[str]) -> None:
        if not reset_ids:
            return
        alone: list[str] = []
        try:
            self._needs.bulk.deliver(reset_ids, lambda reset: alone.append(reset.reset_id))
        except Exception as error:  # must not end the thread's other deliveries
            log.exception("delivery.failed", exc_info=error)
        self._most = min(MAX_TOGETHER, 2 * self._most)
        if len(alone) > len(reset_ids) // FEWEST:  # claimed twice, and one after the other
            self._together_at, self._most = monotonic() + SINGLY_SECONDS, FEWEST
        for reset_id in alone:
            self._run(Task.SEND_EMAIL, reset_id)

    def _run(self, task_name: str, about: str) -> None:
        with suppress(DeliveryFailedError):  # logged
            self._app.tasks[task_name].run(about)

    def _pop(self, number: int) -> tuple[Any, Sequence[Any]]:
        """Return a channel and messages of Redis; of other brokers they are Celery's alone."""
        with self._lock:  # one connection: it is used for a moment
            if self.is_stopped or monotonic() < self._ask_at:
                return None, ()
            texts, again_seconds = (), EMPTY_SECONDS
            try:
                channel = self._channel or self._app.connection_for_read().default_channel
                is_served = Queue.URGENT.value in self._app.amqp.queues.consume_from
                self.is_stopped = not (is_redis(channel) and is_served)
                self._channel = channel
                if not self.is_stopped:
                    key = Queue.URGENT.value
                    texts, self._waiting = channel.client.eval(TAKE, 1, key, number)
            except Exception:  # noqa: BLE001 - whatever kombu fails with; Celery's loop says so
                again_seconds, self._channel = FAILED_SECONDS, None
            self._ask_at = 0.0 if texts else monotonic() + again_seconds
            return self._channel, texts


def register_tasks(app: Celery, needs: TaskDependencies) -> None:
    """Add the tasks to the application, one per channel, so that Flower tells them apart."""

    def task(name: Task, event: str, field: str | None) -> Callable[[Call], Call]:
        """`event` is what a failure is logged as, `field` the argument's name in it."""
        return partial(_register, app, name, event, field)

    @task(Task.SEND_EMAIL, "delivery.failed", "reset_id")
    @task(Task.SEND_SMS, "delivery.failed", "reset_id")
    def deliver(reset_id: str) -> str:
        return needs.delivery.deliver(reset_id)

    @task(Task.SEND_EMAILS, "delivery.failed", None)  # too many ids for a line
    def deliver_many(reset_ids: str) -> int:
        return needs.bulk.deliver(reset_ids.split(","))

    @task(Task.APPLY_RECEIPTS, "receipt.failed", "shard")
    def apply_receipts(shard: str) -> int:
        return needs.receipts.apply(int(shard))

    @task(Task.FEED_BATCH, "batch.failed", "batch_id")
    def feed(batch_id: str) -> str:
        return needs.feeder.feed(batch_id)

    @task(Task.SEND_WEBHOOK, "webhook.failed", "subscription")
    def send_webhooks(subscription_id: str) -> int:
        number, refusal = needs.webhooks.take_turn(subscription_id)
        if refusal:
            raise SubscriberRefusedError(refusal)
        return number

    @task(Task.ANSWER_FORGOTTEN, "forgot.failed", None)
    def answer_forgotten(_: str) -> int:
        return needs.forgot.answer()


def _register(app: Celery, name: Task, event: str, field: str | None, call: Call) -> Call:
    """Make a function a task; of an exception only the type reaches the logs and Flower."""

    @app.task(  # type: ignore[untyped-decorator]
        name=name.value, ignore_result=True, shared=False, throws=(SubscriberRefusedError,)
    )
    def run(about: str) -> object:
        try:
            return call(about)
        except SubscriberRefusedError:  # logged where it happened; Flower shows a failure
            raise
        except Exception as error:
            log.exception(event, exc_info=error, **({field: about} if field else {}))
            raise DeliveryFailedError(type(error).__name__) from None

    return call


class GatherEvents(bootsteps.StartStopStep):  # type: ignore[misc]
    """Send task events in a few large messages: one by one they cost as much as delivery.

    Part of the worker's connection: started after its event dispatcher, each time anew.
    """

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        self._flushing: Any = None
        super().__init__(parent, **options)

    def include_if(self, parent: Any) -> bool:
        """Return False where the broker carries no events."""
        return bool(parent.app.conf.worker_send_task_events)

    def start(self, parent: Any) -> None:
        """Take over the flushing, which Celery does after every single event."""
        dispatcher = parent.event_dispatcher
        dispatcher.on_send_buffered = None
        dispatcher.buffer_limit = MAX_GATHERED
        self._flushing = parent.timer.call_repeatedly(FLUSH_SECONDS, dispatcher.flush)

    def stop(self, parent: Any) -> None:
        """Send what is left; what cannot be sent is kept for the next connection."""
        if self._flushing is not None:
            self._flushing.cancel()
            parent.event_dispatcher.flush()


def add_steps(app: Celery) -> None:
    """Have the workers of this application gather their events, and drop what is no hint."""
    app.steps["consumer"] |= {GatherEvents, HintFilter}


NO_TIME_LIMITS = (None, [None, None])
ABOUT = re.compile(r"[\w,:-]+", re.ASCII)
# What reading a foreign message raises, in json, base64, kombu and Celery.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, KombuError)


class HintFilter(bootsteps.StartStopStep):  # type: ignore[misc]
    """Drops what the broker delivers and is no hint: an error in Celery's loop ends the worker.

    Part of the worker's connection. What it drops is counted, and none of its text is logged.
    """

    requires = ("celery.worker.consumer.tasks:Tasks", "celery.worker.consumer.control:Control")
    dropped: ClassVar[deque[str]] = deque(maxlen=100_000)  # what was wrong, until it is counted

    def start(self, parent: Any) -> None:
        """Filter what this connection brings."""
        drop = partial(self._drop, parent)
        handle = partial(self._handle, type(parent).create_task_handler(parent), drop)
        parent.task_consumer.on_decode_error, parent.create_task_handler = drop, lambda: handle
        channel = parent.task_consumer.channel
        if is_redis(channel):  # where the envelope may be unreadable, too
            for each in channel.connection.channels:
                each.handlers = {k: partial(self._read, v) for k, v in each.handlers.items()}

    def _read(self, read: Callable[[], object]) -> object:
        try:
            return read()
        except UNREADABLE as error:
            self.dropped.append(type(error).__name__)
            return True

    def _handle(self, handle: Callable[[Any], None], drop: Callable[..., None], hint: Any) -> None:
        try:
            _check_hint(hint)
            handle(hint)
        except UNREADABLE as error:
            drop(hint, error)

    def _drop(self, parent: Any, message: Any, error: Exception) -> None:
        self.dropped.append(type(error).__name__)
        message.reject_log_error(logging.getLogger(__name__), parent.connection_errors)


def count_dropped(counters: CounterStore) -> None:
    """Log and count the messages that were dropped."""
    found = Counter(HintFilter.dropped.popleft() for _ in range(len(HintFilter.dropped)))
    if found:
        log.warning("hint.unreadable", number=found.total(), errors=sorted(found))
        counters.add("unread", found.total())


def _check_hint(message: Any) -> None:
    """Raise an error unless a message is what `send` in shared/queue.py publishes."""
    headers = message.headers
    Task(headers["task"])
    (about,), named, embedded = message.payload
    others = [headers.get(name) for name in ("eta", "expires", "compression")]
    others += [headers.get("stamps") or None]
    is_plain = others == [None] * 4 and headers.get("timelimit") in NO_TIME_LIMITS
    is_named = isinstance(headers["id"], str) and isinstance(message.delivery_tag, str | int)
    is_hint = ABOUT.fullmatch(about) and not named and not any(embedded.values())
    if not (is_hint and is_plain and is_named):
        raise ValueError("not a hint")
