"""Name the tasks, configure Celery for web and worker, and publish hints.

A hint only says "look at this one now". It may be lost, doubled or late: the due set is the truth.
"""

from __future__ import annotations

import base64
import queue as standard_queue
import threading
import time
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

from shared.broker import (
    CONNECT_ONCE,
    HINT_LIFETIME_SECONDS,
    PUBLISH_TIMEOUT,
    Broker,
    adapt_connections,
    configure,
    connect,
    declare,
    is_redis,
)
from shared.models import Channel, Queue
from shared.settings import WITHOUT_BROKER, Settings
from shared.settings.types import BrokerKind
from shared.store.scripts import NamedCall

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger()

MAX_SHOWN_CHARACTERS = 100
MAX_WAITING = 1000  # hints in the broker; more would only use memory
MAX_AT_ONCE = 200
GATHER_SECONDS = 0.005  # between two trips to the broker: under load many hints share one
RETRY_SECONDS = 0.5  # after a failure
FAILING_SECONDS = 10.0  # how long one failure counts when nothing was to be published since

# Why these values: docs/decisions/0001-the-queue-is-a-hint.md
CELERY_CONFIGURATION: dict[str, Any] = {
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_acks_late": False,  # the due set recovers; late acknowledgement would only repeat
    "task_publish_retry": False,
    "task_default_queue": Queue.URGENT.value,
    "task_create_missing_queues": True,
    "worker_prefetch_multiplier": 1,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,  # a full broker does not end the worker
}


class Task(StrEnum):
    """The names of the tasks, as Flower shows them."""

    SEND_EMAIL = "keyturn.send_email"  # look at one reset
    SEND_SMS = "keyturn.send_sms"
    SEND_EMAILS = "keyturn.send_emails"  # look at many resets by e-mail, ids between commas
    APPLY_RECEIPTS = "keyturn.apply_receipts"  # apply the receipts of one shard's resets
    FEED_BATCH = "keyturn.feed_batch"  # bring one batch further
    SEND_WEBHOOK = "keyturn.send_webhook"  # send one subscription what is due
    ANSWER_FORGOTTEN = "keyturn.answer_forgotten"  # look up people who forgot their password


SENDING = {Channel.EMAIL: Task.SEND_EMAIL, Channel.SMS: Task.SEND_SMS}


class Hint(NamedTuple):
    """What to look at, by which task, on which queue."""

    about: str  # an id, or ids between commas; nothing else
    task: Task
    queue: Queue


HINT_AT_FORGOTTEN = Hint("all", Task.ANSWER_FORGOTTEN, Queue.URGENT)


def hint_at(reset_id: str, channel: Channel, queue: Queue) -> Hint:
    """Return the hint at a reset."""
    return Hint(reset_id, SENDING[channel], queue)


def hint_at_many(reset_ids: Sequence[str], queue: Queue) -> Hint:
    """Return one hint at resets by e-mail that may go out in one call."""
    return Hint(",".join(reset_ids), Task.SEND_EMAILS, queue)


def hint_at_receipts(shard: int) -> Hint:
    """Return the hint at the receipts of a shard's resets."""
    return Hint(str(shard), Task.APPLY_RECEIPTS, Queue.RECEIPTS)


def make_celery(settings: Settings, **extra: Any) -> Celery:
    """Return the Celery application of both sides; only the worker adds tasks to it.

    Raises:
        SettingsError: packages for this kind of broker are not installed.
    """
    from celery import Celery  # noqa: PLC0415  # loaded by processes that publish or work

    app = Celery("keyturn", broker=settings.hint_url, set_as_current=False)
    app.conf.update(CELERY_CONFIGURATION, **{**configure(settings), **extra})
    if settings.broker_kind in (BrokerKind.RABBITMQ, BrokerKind.SQS):
        adapt_connections(app, settings.broker_kind)
    return app


class HintPublisher:
    """Publishes hints from a thread of its own: no request ever waits for the broker."""

    def __init__(self, app: Celery, *, is_in_store: bool = False) -> None:
        """Start the thread with the first hint; `is_in_store`: the broker is the store's Redis."""
        self._app, self._is_in_store = app, is_in_store
        self._hints: standard_queue.SimpleQueue[Hint | None] = standard_queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._broker, self._is_off = Broker(app), app.conf.broker_url == WITHOUT_BROKER
        self._failed_at = -FAILING_SECONDS
        self._templates = MessageTemplates(app)
        self._room: dict[Queue, int] = {}  # how many more to publish before asking for the depth

    def publish(self, hint: Hint) -> bool:
        """Hand a hint to the thread; never waits, never fails; False if it is surely lost."""
        if self._is_off or self._hints.qsize() >= MAX_WAITING:  # sweepers find the reset
            return False
        if self._thread is None:
            self._start()
        self._hints.put(hint)
        return True

    def call(self, hint: Hint) -> NamedCall | None:
        """Return the script that publishes a hint in the store's Redis; None for another broker."""
        if not self._is_in_store:
            return None
        return "reset/hint", (hint.queue.value,), (self._templates.fill(hint), MAX_WAITING)

    def close(self) -> None:
        """Publish the waiting hints and end the thread."""
        self._hints.put(None)
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._broker.close()

    def is_failing(self) -> bool:
        """Return True from a failure to publish until a hint is published, or for a while."""
        return time.monotonic() - self._failed_at < FAILING_SECONDS

    def waiting(self, queue: Queue) -> int:
        """Return how many hints the broker holds for a queue.

        Raises:
            BrokerAwayError: it does not answer.
        """
        return self._broker.queue_depth(queue)

    def is_connected(self) -> bool:
        """Return True if the broker answers now."""
        return self._broker.is_connected()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            hints, is_last = self._gather()
            try:
                with connect(self._app, PUBLISH_TIMEOUT) as connection:
                    connection.ensure_connection(**CONNECT_ONCE)
                    producer = self._app.amqp.Producer(connection)
                    while True:
                        self._publish_all(producer, hints)
                        self._failed_at = -FAILING_SECONDS
                        if is_last:
                            return
                        time.sleep(GATHER_SECONDS)
                        hints, is_last = self._gather()
            except Exception as error:  # whatever kombu fails with: the thread must not end
                self._failed_at = time.monotonic()
                log.warning("hints.dropped", number=len(hints), exc_info=error)
                if is_last:
                    return
                self._pause()

    def _gather(self) -> tuple[list[Hint], bool]:
        """Wait for one hint, then take all that came meanwhile; True with the last ones."""
        hints: list[Hint] = []
        hint = self._hints.get()
        while hint is not None:
            hints.append(hint)
            if len(hints) >= MAX_AT_ONCE:
                return hints, False
            try:
                hint = self._hints.get_nowait()
            except standard_queue.Empty:
                return hints, False
        return hints, True

    def _pause(self) -> None:
        """Wait, then leave the hints beyond one batch to the sweepers."""
        time.sleep(RETRY_SECONDS)
        self._room.clear()
        while self._hints.qsize() > MAX_AT_ONCE:
            self._hints.get_nowait()

    def _publish_all(self, producer: Any, hints: Sequence[Hint]) -> None:
        channel = producer.channel
        for queue in {hint.queue for hint in hints}:
            if not self._has_room(channel, queue):
                continue
            some = [hint for hint in hints if hint.queue is queue]
            self._room[queue] -= len(some)
            if is_redis(channel):
                texts = [self._templates.fill(hint) for hint in some]
                channel.client.lpush(queue.value, *texts)
            else:
                for hint in some:
                    send(self._app, producer, hint)

    def _has_room(self, channel: Any, queue: Queue) -> bool:
        """Return False if enough hints wait in the broker."""
        if self._room.get(queue, 0) <= 0:
            self._room[queue] = min(MAX_AT_ONCE, MAX_WAITING + 1 - declare(channel, queue))
        return self._room[queue] > 0


def send(app: Celery, producer: Any, hint: Hint) -> None:
    """Publish a hint as Celery's `send_task` does, over a connection of ours."""
    message = app.amqp.create_task_message(
        str(uuid.uuid4()),
        hint.task.value,
        (hint.about,),
        argsrepr=_format_arguments(hint.about),
        ignore_result=True,
    )
    app.amqp.send_task_message(
        producer,
        hint.task.value,
        message,
        queue=hint.queue.value,
        expiration=HINT_LIFETIME_SECONDS,
        retry=False,
    )


class MessageTemplates:
    """Messages for kombu's Redis transport, each kind made once by Celery and kombu themselves."""

    def __init__(self, app: Celery) -> None:
        """Make each kind with its first hint."""
        self._app = app
        self._made: dict[tuple[Task, Queue], dict[str, Any]] = {}

    def fill(self, hint: Hint) -> str:
        """Return the message of a hint."""
        key = (hint.task, hint.queue)
        if key not in self._made:
            self._made[key] = self._make(Hint("", *key))
        made, task_id = self._made[key], str(uuid.uuid4())
        own = {"id": task_id, "root_id": task_id, "argsrepr": _format_arguments(hint.about)}
        tags = {"correlation_id": task_id, "delivery_tag": task_id}
        body = orjson.dumps(([hint.about], *made["body"][1:]))
        return orjson.dumps(
            {
                **made,
                "body": base64.b64encode(body).decode(),
                "headers": {**made["headers"], **own},
                "properties": {**made["properties"], **tags},
            }
        ).decode()

    def _make(self, hint: Hint) -> dict[str, Any]:
        """Return a message that was sent to a broker in memory, with its body decoded."""
        with self._app.connection("memory://") as connection:
            send(self._app, self._app.amqp.Producer(connection), hint)
            message = connection.default_channel.basic_get(hint.queue.value, no_ack=True)
            return {**message.serializable(), "body": message.decode()}


def _format_arguments(about: str) -> str:
    """Return a task's arguments as Flower shows them: of many ids the first and their number."""
    if len(about) <= MAX_SHOWN_CHARACTERS:
        return f"('{about}',)"
    shown, count = about[:MAX_SHOWN_CHARACTERS].rpartition(",")[0], about.count(",") + 1
    return f"('{shown},…' {count} in all,)"
