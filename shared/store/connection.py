"""Connect to Redis, and translate its failures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import Any, TypeAlias

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from shared.errors import StoreUnavailableError

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # the longest a caller waits for a frozen server before it answers 503
RECENT_SECONDS = 0.5  # a connection idle for longer may have been closed: redis-py checks it
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
    return StoreRedis.from_pool(pool)


class StoreRedis(redis.Redis):
    """A redis.Redis whose single commands reuse a connection used a moment ago, unchecked.

    redis-py's own bookkeeping and checks around each command cost a request a fifth of its
    processor time (docs/performance.md). Pipelines are redis-py's own.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; return what redis-py makes of the reply."""
        pool: Any = self.connection_pool
        packed = [pack_command((*str(args[0]).split(), *args[1:]))]
        connection = pool.take_recent() or pool.get_connection()
        try:
            try:
                connection.send_packed_command(packed)
            except redis.ConnectionError:
                # Closed before it took the whole command, which therefore did not run.
                pool.release_recent()  # the others may be closed as well: redis-py checks them
                connection.send_packed_command(packed)
            reply = self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            pool.keep_recent(connection)
            raise
        except BaseException:
            connection.disconnect()
            pool.release(connection)
            pool.release_recent()
            raise
        pool.keep_recent(connection)
        return reply


class FailFastPool(redis.ConnectionPool):
    """A pool that refuses callers at once while the server does not answer.

    A reply that does not come in time trips the pool. Until the server answers again, one caller
    at a time probes it with a PING; the others are refused, so that their waits do not add up.
    """

    def __init__(
        self, connection_class: type[Any] = redis.Connection, *args: Any, **options: Any
    ) -> None:
        """Take what redis.ConnectionPool takes."""
        reporting = _reporting_timeouts(connection_class, self._trip)
        super().__init__(reporting, *args, **options)
        self._is_tripped = False
        self._probing = Lock()
        self._recent: deque[tuple[Any, float]] = deque()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is ready.

        Raises:
            redis.ConnectionError: the server does not answer, or another caller is probing it.
        """
        if not self._is_tripped:
            try:
                return super().get_connection(*args, **options)
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

    def take_recent(self) -> Any:
        """Return the connection used last, or None if there is none that can be trusted."""
        try:
            connection, used_at = self._recent.pop()
        except IndexError:
            return None
        age = monotonic() - used_at
        if age < RECENT_SECONDS and not self._is_tripped and connection.pid == os.getpid():
            return connection
        self.release(connection)
        return None

    def keep_recent(self, connection: Any) -> None:
        """Keep a connection whose reply was read; redis-py goes on counting it as in use."""
        self._recent.append((connection, monotonic()))

    def release_recent(self) -> None:
        """Give the connections used a moment ago back to redis-py."""
        with suppress(IndexError):
            while True:
                self.release(self._recent.pop()[0])

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
