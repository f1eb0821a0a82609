"""Tell the brokers apart: options, depth, and whether one answers, with short timeouts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from shared.errors import BrokerAwayError, SettingsError
from shared.models import Queue
from shared.settings.types import BrokerKind

if TYPE_CHECKING:
    from celery import Celery

    from shared.settings import Settings

log = structlog.get_logger()

CONNECT_ONCE: dict[str, Any] = {"max_retries": 1, "interval_start": 0}
SHORT_TIMEOUT = {
    "socket_timeout": 0.7,
    "socket_connect_timeout": 0.7,  # Redis
    "connect_timeout": 0.7,
    "read_timeout": 0.7,
    "write_timeout": 0.7,  # RabbitMQ
}
# Of a connection that publishes; one that consumes waits for messages as long as it takes.
PUBLISH_TIMEOUT = {"connect_timeout": 1, "read_timeout": 3, "write_timeout": 3}
BACKOFF_SECONDS = 2.0  # after a failure, in which callers do not wait for the timeout again
# How long RabbitMQ and SQS keep a hint: the sweepers publish a new one.
# A worker does not compare it with its clock, which may be an hour ahead of the web's.
HINT_LIFETIME_SECONDS = 60  # SQS keeps none for less
# Why these values: docs/decisions/0001-the-queue-is-a-hint.md, 0035-what-may-carry-the-hints.md
_REDIS_OPTIONS: dict[str, Any] = {
    "socket_timeout": 3,
    "socket_connect_timeout": 1,
    "health_check_interval": 15,
    "visibility_timeout": 3600,
    "ack_emulation": False,  # a hint needs no redelivery; two and a half times cheaper
}
_SQS_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 30,  # a hint held by a worker that died is seen again
    "wait_time_seconds": 10,  # a call waits there for messages
    "polling_interval": 0.2,  # after an empty call, or one that failed
    "sqs-creation-attributes": {"MessageRetentionPeriod": str(HINT_LIFETIME_SECONDS)},
    "client-config": {
        "connect_timeout": 1,
        "read_timeout": 3,
        "retries": {"total_max_attempts": 1},
    },
}
_OPTIONS: dict[BrokerKind, dict[str, Any]] = {
    BrokerKind.REDIS: _REDIS_OPTIONS,
    BrokerKind.RABBITMQ: {"confirm_publish": True},
    BrokerKind.SQS: _SQS_OPTIONS,
}
OPENING = {  # a channel, in every kind: a caller of is_connected waits
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}


def configure(settings: Settings) -> dict[str, Any]:
    """Return what Celery must know of this kind of broker.

    Raises:
        SettingsError: packages for it are not installed.
    """
    kind = settings.broker_kind
    options = {**OPENING, **_OPTIONS.get(kind, {})}
    if kind is BrokerKind.SQS:
        if not (find_spec("boto3") and find_spec("pycurl")):
            raise SettingsError("KEYTURN_BROKER_URL=sqs:// needs `pip install 'keyturn[sqs]'`")
        queues = {name: {"url": url} for name, url in settings.sqs_queues}
        prefix = "" if queues else settings.sqs_prefix
        options |= {"predefined_queues": queues, "queue_name_prefix": prefix}
        options |= {"region": settings.sqs_region} if settings.sqs_region else {}
    return {
        "broker_transport_options": options,
        "worker_enable_remote_control": kind.has_events,
        "worker_send_task_events": kind.has_events,
    }


def adapt_connections(app: Celery, kind: BrokerKind) -> None:
    """Have Celery treat RabbitMQ and SQS as they are; it knows Redis by itself."""
    from kombu.connection import Connection  # noqa: PLC0415  # commands start without kombu

    class Adapted(Connection):
        qos_semantics_matches_spec = True  # else Celery asks for a prefetch quorum queues refuse

    app.amqp.Connection = _adapt_to_sqs(Adapted) if kind is BrokerKind.SQS else Adapted


def _adapt_to_sqs(connection: Any) -> Any:
    """Return a class of connections on which no refusal and no lost answer ends the worker."""
    sqs: Any = import_module("kombu.transport.SQS")  # of an extra
    deleting = ThreadPoolExecutor(8, "delete")  # boto's client has ten connections

    class Channel(sqs.Channel):  # type: ignore[misc]
        def _on_messages_ready(self, queue: str, qname: str, messages: Any) -> int:
            # A call without an answer brings an empty list, which kombu takes for a dict.
            return int(super()._on_messages_ready(queue, qname, messages or {}))

        def _get_bulk_async(self, queue: str, callback: Any = None) -> None:
            # kombu never polls a queue again once a poll was refused.
            try:
                super()._get_bulk_async(queue, callback)
            except Exception as error:  # noqa: BLE001 - of boto, or kombu's own
                self._poll_later(queue, error)

        def _get_from_sqs(self, queue_name: str, *, callback: Any, **call: Any) -> Any:
            queue = queue_name.removeprefix(self.entity_name(self.queue_name_prefix))
            callback.on_error = lambda *given: self._poll_later(queue, given[-1])
            return super()._get_from_sqs(queue_name, callback=callback, **call)

        def basic_ack(self, *message: Any, **options: Any) -> None:
            # It waits for SQS, and Celery's loop for it. If it fails, the hint comes once more.
            deleting.submit(super().basic_ack, *message, **options)

        def _poll_later(self, queue: str, error: Exception) -> None:
            log.warning("broker.away", reason="SQS refused a poll", queue=queue, exc_info=error)
            self._queue_cache.pop(self.canonical_queue_name(queue), None)  # it may be made anew
            self.hub.call_later(BACKOFF_SECONDS, self._schedule_queue, queue)

    class Transport(sqs.Transport):  # type: ignore[misc]
        connection_errors = (Exception,)  # what kombu raises for a status of 400 and above

    Transport.Channel = Channel
    connection.get_transport_cls = lambda _: Transport
    return connection


class Broker:
    """Queries the broker over one connection, one query at a time; threads may share it."""

    def __init__(self, app: Celery) -> None:
        """Connect with the first query."""
        self._app = app
        self._connection: Any = None
        self._retry_at = 0.0
        self._lock = Lock()

    def queue_depth(self, queue: Queue) -> int:
        """Return how many messages wait in a queue.

        Raises:
            BrokerAwayError: the broker does not answer, or did not a moment ago.
        """
        with self._lock:
            if monotonic() < self._retry_at:
                raise BrokerAwayError
            try:
                if self._connection is None:
                    self._connection = connect(self._app, SHORT_TIMEOUT)
                self._connection.ensure_connection(**CONNECT_ONCE)
                channel = self._connection.default_channel
                if is_redis(channel):
                    return int(channel.client.llen(queue.value))
                return declare(channel, queue)
            except Exception as error:  # kombu's own lists leave out some, of SQS above all
                self._retry_at = monotonic() + BACKOFF_SECONDS
                raise BrokerAwayError from error

    def is_connected(self) -> bool:
        """Return True if the broker accepts a new connection now."""
        with suppress(Exception), connect(self._app, SHORT_TIMEOUT) as connection:  # as above
            connection.ensure_connection(**CONNECT_ONCE)
            return True
        return False

    def close(self) -> None:
        """Release the connection."""
        if self._connection is not None:
            self._connection.release()


def connect(app: Celery, timeouts: dict[str, Any]) -> Any:
    """Return a connection that publishes or asks, not connected yet."""
    options = {**app.conf.broker_transport_options, **timeouts}
    return app.connection_for_write(transport_options=options)


def declare(channel: Any, queue: Queue) -> int:
    """Create a queue unless it exists; return how many messages wait in it."""
    return int(channel.queue_declare(queue.value, durable=True, auto_delete=False).message_count)


def is_redis(channel: Any) -> bool:
    """Return True for a channel of kombu's Redis transport."""
    return getattr(channel.connection, "driver_type", "") == "redis"
