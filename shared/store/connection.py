"""The connection to Redis and the one translation of its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import StoreUnavailableError

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # a frozen server costs a caller this much, then 503


class DoubtingPool(redis.ConnectionPool):
    """Connections; while the server keeps people waiting, one asks whether it is back.

    The others are refused at once: they may have queued already, and waits must not add up.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """As redis.ConnectionPool."""
        super().__init__(*args, **options)
        self._is_doubtful = False
        self._asking = Lock()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is ready.

        Raises:
            redis.ConnectionError: the server does not answer, or somebody else is asking it.
        """
        if not self._is_doubtful:
            try:
                return super().get_connection(*args, **options)
            except redis.TimeoutError:
                self.doubt()
                raise
        if not self._asking.acquire(blocking=False):
            raise redis.ConnectionError("the server did not answer a moment ago")
        try:
            connection = super().get_connection(*args, **options)
            self._ask(connection)
        finally:
            self._asking.release()
        return connection

    def _ask(self, connection: Any) -> None:
        try:
            connection.send_command("PING")
            connection.read_response()
        except redis.RedisError:
            connection.disconnect()
            self.release(connection)
            raise
        self._is_doubtful = False

    def doubt(self) -> None:
        """The server kept somebody waiting for too long."""
        self._is_doubtful = True


def _noticing(kind: Any, pool: DoubtingPool) -> Any:
    """A kind of connection that tells the pool when a reply does not come in time."""

    class NoticingConnection(kind):  # type: ignore[misc]
        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except redis.TimeoutError:
                pool.doubt()
                raise

    return NoticingConnection


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """A client that never waits longer than its timeout and never repeats a command by itself.

    A command whose reply was lost may have run; only the caller of the store knows whether to
    ask again (RECORD may be repeated, CLAIM may not).
    """
    pool = DoubtingPool.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool.connection_class = _noticing(pool.connection_class, pool)
    return redis.Redis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis fails with into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error
