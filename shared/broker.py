"""Ask the broker how full it is and whether it answers, with a short timeout."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.errors import BrokerAwayError
from shared.models import Queue

if TYPE_CHECKING:
    from celery import Celery

CONNECT_ONCE: dict[str, Any] = {"max_retries": 1, "interval_start": 0}
SHORT_TIMEOUT = {"socket_timeout": 0.7, "socket_connect_timeout": 0.7}
BACKOFF_SECONDS = 2.0  # after a failure, in which callers do not wait for the timeout again


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
                    self._connection = self._connect()
                self._connection.ensure_connection(**CONNECT_ONCE)
                return declare(self._connection.default_channel, queue)
            except self._errors() as error:
                self._retry_at = monotonic() + BACKOFF_SECONDS
                raise BrokerAwayError from error

    def is_connected(self) -> bool:
        """Return True if the broker accepts a new connection now."""
        try:
            with self._connect() as connection:
                connection.ensure_connection(**CONNECT_ONCE)
                return True
        except self._errors():
            return False

    def close(self) -> None:
        """Release the connection."""
        if self._connection is not None:
            self._connection.release()

    def _connect(self) -> Any:
        options = {**self._app.conf.broker_transport_options, **SHORT_TIMEOUT}
        return self._app.connection_for_write(transport_options=options)

    def _errors(self) -> tuple[type[Exception], ...]:
        """Return the exceptions of the client of this kind of broker."""
        from kombu.exceptions import KombuError  # noqa: PLC0415  # commands start without kombu

        connection = self._app.connection()
        return (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)


def declare(channel: Any, queue: Queue) -> int:
    """Create a queue unless it exists; return how many messages wait in it."""
    return int(channel.queue_declare(queue.value, durable=True, auto_delete=False).message_count)


def is_redis(channel: Any) -> bool:
    """Return True for a channel of kombu's Redis transport."""
    return bool(channel.connection.driver_type == "redis")
