"""What crosses the queue: names, one Celery configuration for both sides, and an id; nothing else.

A hint only says "look at this one now". It may be lost, doubled or late: the due set is the truth.
"""

from __future__ import annotations

import base64
import contextlib
import queue as standard_queue
import threading
import time
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
import structlog
from celery import Celery

from shared.broker import AT_ONCE, BrokerDepth, broker_errors, connect_impatiently, is_redis
from shared.models import Channel, Queue
from shared.settings import Settings

# How long a broker that looks at such things (RabbitMQ) keeps a hint; the sweepers give a new one.
# Nothing in it asks a worker to look at its clock, which may be an hour ahead of the web's.
HINT_LIFETIME_SECONDS = 30
MAX_SHOWN_CHARACTERS = 100


class Task(StrEnum):
    """The names of the tasks, as Flower shows them."""

    SEND_EMAIL = "keyturn.send_email"  # look at one reset
    SEND_SMS = "keyturn.send_sms"
    SEND_EMAILS = "keyturn.send_emails"  # look at many resets by e-mail, named between commas
    APPLY_RECEIPTS = "keyturn.apply_receipts"  # what providers told of one shard's resets
    FEED_BATCH = "keyturn.feed_batch"  # bring one batch further
    SEND_WEBHOOK = "keyturn.send_webhook"  # tell one subscription what is due


SENDING = {Channel.EMAIL: Task.SEND_EMAIL, Channel.SMS: Task.SEND_SMS}


class Hint(NamedTuple):
    """What to look at, by which task, on which queue."""

    about: str  # an id, or ids between commas; nothing else
    task: Task
    queue: Queue


def hint_at(reset_id: str, channel: Channel, queue: Queue) -> Hint:
    """The hint at a reset."""
    return Hint(reset_id, SENDING[channel], queue)


def hint_at_receipts(shard: int) -> Hint:
    """The hint at what providers told of a shard's resets."""
    return Hint(str(shard), Task.APPLY_RECEIPTS, Queue.RECEIPTS)


def hint_at_many(reset_ids: Sequence[str], queue: Queue) -> Hint:
    """The hint at resets by e-mail that may go out in one call."""
    return Hint(",".join(reset_ids), Task.SEND_EMAILS, queue)


def format_arguments(about: str) -> str:
    """A task's arguments as Flower shows them: many ids by their first ones and their number."""
    if len(about) <= MAX_SHOWN_CHARACTERS:
        return f"('{about}',)"
    shown, number = about[:MAX_SHOWN_CHARACTERS].rpartition(",")[0], about.count(",") + 1
    return f"('{shown},…' {number} in all,)"


class TaskEnvelope:
    """A task message as Celery and kombu make it, made once per task; filling one costs little.

    `delay()` makes it anew each time, at ten times the price (bench/accept.py).
    """

    def __init__(self, app: Any) -> None:
        """`app` is a Celery application; nothing is made before the first hint."""
        self._app = app
        self._made: dict[tuple[Task, Queue], dict[str, Any]] = {}

    def fill(self, channel: Any, hint: Hint) -> bytes:
        """The message of one hint."""
        key = (hint.task, hint.queue)
        if key not in self._made:
            self._made[key] = self._make(channel, *key)
        message = self._made[key]
        task_id = str(uuid.uuid4())
        arguments = [[hint.about], {}, message["embed"]]
        return orjson.dumps(
            {
                **message["rest"],
                "body": base64.b64encode(orjson.dumps(arguments)).decode(),
                "headers": {
                    **message["headers"],
                    "id": task_id,
                    "root_id": task_id,
                    "argsrepr": format_arguments(hint.about),
                },
                "properties": {
                    **message["properties"],
                    "correlation_id": task_id,
                    "delivery_tag": task_id,
                },
            }
        )

    def _make(self, channel: Any, task: Task, queue: Queue) -> dict[str, Any]:
        made = self._app.amqp.as_task_v2("id", task.value, ("id",), {}, ignore_result=True)
        message = channel.prepare_message(
            "", 0, "application/json", "utf-8", made.headers, dict(made.properties)
        )
        message["properties"].update(
            delivery_mode=2,
            expiration=str(HINT_LIFETIME_SECONDS * 1000),
            body_encoding="base64",
            delivery_info={"exchange": "", "routing_key": queue.value},
        )
        rest = {k: v for k, v in message.items() if k.startswith("content-")}
        return {"rest": rest, "embed": made.body[2], **message}


log = structlog.get_logger()

MAX_WAITING = 1000  # hints in the broker; more would only be memory
MAX_AT_ONCE = 200
GATHER_SECONDS = 0.005  # between two trips to the broker: under load many hints share one
REST_SECONDS = 0.5  # after a failure
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
    "worker_send_task_events": True,  # for Flower
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,  # a full broker is no reason to end
    "broker_transport_options": {
        "socket_timeout": 3,
        "socket_connect_timeout": 1,
        "health_check_interval": 15,
        "visibility_timeout": 3600,
        "max_retries": 1,  # of opening a channel: who asks whether the broker is there waits
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.1,
        "ack_emulation": False,  # a hint needs no redelivery; two and a half times cheaper
    },
}


def make_celery(settings: Settings, **extra: Any) -> Celery:
    """The Celery application of both sides; only the worker adds tasks to it."""
    app = Celery("keyturn", broker=settings.hint_url, set_as_current=False)
    app.conf.update(CELERY_CONFIGURATION, **extra)
    return app


class HintPublisher:
    """Publishes hints from a thread of its own: no request ever waits for the broker."""

    def __init__(self, app: Celery) -> None:
        """The thread starts with the first hint."""
        self._app = app
        self._hints: standard_queue.SimpleQueue[Hint | None] = standard_queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._envelope = TaskEnvelope(app)
        self._gauge = BrokerDepth(app)
        self._failed_at = -FAILING_SECONDS
        self._full: set[Queue] = set()  # lists in the broker that were too long when last seen

    def publish(self, hint: Hint) -> None:
        """Hand a hint to the thread; never waits, never fails."""
        if self._thread is None:
            self._start()
        if self._hints.qsize() < MAX_WAITING:  # else the broker is away: sweepers find the reset
            self._hints.put(hint)

    def close(self) -> None:
        """Publish what is waiting and end the thread."""
        self._hints.put(None)
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._gauge.close()

    def is_failing(self) -> bool:
        """True from a failure to publish until something is published, or for a while."""
        return time.monotonic() - self._failed_at < FAILING_SECONDS

    def waiting(self, queue: Queue) -> int:
        """How many hints the broker holds for a queue; 0 where it cannot be asked so.

        Raises:
            BrokerAwayError: it does not answer.
        """
        return self._gauge.waiting(queue)

    def is_connected(self) -> bool:
        """True when the broker answers now."""
        try:
            with connect_impatiently(self._app) as connection:
                connection.ensure_connection(**AT_ONCE)
                if is_redis(channel := connection.default_channel):
                    return bool(channel.client.ping())
                return bool(connection.connected)
        except broker_errors(self._app.connection()):
            return False

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        connection = None
        while True:
            hints, is_last = self._gather()
            try:
                if connection is None:
                    connection = self._app.connection_for_write()
                    connection.ensure_connection(**AT_ONCE)
                if hints:
                    self._publish_all(connection.default_channel, hints)
                    self._failed_at = -FAILING_SECONDS
                if not is_last:
                    time.sleep(GATHER_SECONDS)
            except Exception as error:  # whatever kombu fails with: the thread must not end
                self._failed_at = time.monotonic()
                log.warning("hints.dropped", number=len(hints), exc_info=error)
                with contextlib.suppress(Exception):  # what is broken may fail to close
                    connection.close()  # type: ignore[union-attr]
                connection = None
                self._rest(is_last=is_last)
            if is_last:
                return

    def _gather(self) -> tuple[list[Hint], bool]:
        """Wait for one hint, then take what came meanwhile."""
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

    def _rest(self, *, is_last: bool) -> None:
        """The broker is gone: what gathers meanwhile is for the sweepers."""
        if is_last:
            return
        time.sleep(REST_SECONDS)
        while self._hints.qsize() > MAX_AT_ONCE:
            self._hints.get_nowait()

    def _publish_all(self, channel: Any, hints: Sequence[Hint]) -> None:
        if not is_redis(channel):
            for hint in hints:
                self._app.send_task(
                    hint.task.value,
                    (hint.about,),
                    queue=hint.queue.value,
                    expiration=HINT_LIFETIME_SECONDS,
                    retry=False,
                    argsrepr=format_arguments(hint.about),
                )
            return
        for queue in {hint.queue for hint in hints}:
            if queue in self._full and channel.client.llen(queue.value) > MAX_WAITING:
                continue  # hints nobody takes are memory too; the sweepers find the resets
            texts = [self._envelope.fill(channel, h) for h in hints if h.queue is queue]
            self._full.discard(queue)
            if channel.client.lpush(queue.value, *texts) > MAX_WAITING:
                self._full.add(queue)
