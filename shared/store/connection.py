"""Connect to Redis, and translate its failures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from shared.errors import StoreUnavailableError

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # the longest a caller waits for a frozen server before it answers 503
MAX_CONNECTIONS = 10_000  # each thread uses one, so the settings of threads are the real bound


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """Return a client that fails within the timeout and sends each command at most once.

    redis-py repeats commands by default. A command whose reply was lost may have run; only the
    caller of the store knows whether it may run again (recording a reset may, a claim may not).
    The pool replaces connections that the server closed while idle, before a command is written.
    """
    pool = FailFastPool.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=MAX_CONNECTIONS,
        # While these are on, the pool does not check connections for unread replies.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return redis.Redis.from_pool(pool)


class FailFastPool(redis.ConnectionPool):
    """A pool that refuses callers at once while the server does not answer.

    A reply that does not come in time trips the pool. Until the server answers again, one caller
    at a time probes it with a PING; the others are refused, so that their waits do not add up.

    Connections at rest stay in a stack of our own; for redis-py they are in use. Its bookkeeping
    around each command costs a request a tenth of its processor time (docs/performance.md).
    """

    def __init__(
        self, connection_class: type[Any] = redis.Connection, *args: Any, **options: Any
    ) -> None:
        """Take what redis.ConnectionPool takes."""
        reporting = _reporting_timeouts(connection_class, self._trip)
        super().__init__(reporting, *args, **options)
        self._is_tripped = False
        self._probing = Lock()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is ready.

        Raises:
            redis.ConnectionError: the server does not answer, or another caller is probing it.
        """
        if not self._is_tripped:
            try:
                return self._take_resting() or super().get_connection(*args, **options)
            except redis.TimeoutError:
                self._trip()
                raise
        if not self._probing.acquire(blocking=False):
            raise redis.ConnectionError("the server did not answer a moment ago")
        try:
            connection = super().get_connection(*args, **options)
            self._probe(connection)
        finally:
            self._probing.release()
        return connection

    def release(self, connection: Any) -> None:
        """Let a connection rest until its next use."""
        if connection.is_connected and not connection.should_reconnect():
            self._resting.append(connection)
        else:
            super().release(connection)

    def reset(self) -> None:
        """Start without connections, as after a fork."""
        self._resting: deque[Any] = deque()
        super().reset()

    def _take_resting(self) -> Any:
        """Return the connection used last, or None; give one that was closed back to redis-py."""
        try:
            connection = self._resting.pop()
        except IndexError:
            return None
        try:
            if connection.pid == os.getpid() and not connection.can_read():
                return connection
        except redis.RedisError:
            connection.disconnect()
        super().release(connection)
        return None

    def _probe(self, connection: Any) -> None:
        try:
            connection.send_command("PING")
            connection.read_response()
        except redis.RedisError:
            connection.disconnect()
            self.release(connection)
            raise
        self._is_tripped = False

    def _trip(self) -> None:
        self._is_tripped = True


def _reporting_timeouts(connection_class: type[Any], report: Callable[[], None]) -> type[Any]:
    """Return a kind of connection that reports when the server does not take or answer in time."""

    class ReportingConnection(connection_class):  # type: ignore[misc]
        def send_packed_command(self, *args: Any, **options: Any) -> Any:
            try:
                return super().send_packed_command(*args, **options)
            except redis.TimeoutError:
                report()
                raise

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except redis.TimeoutError:
                report()
                raise

    return ReportingConnection


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error
