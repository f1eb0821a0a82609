"""The connection to Redis and the one translation of its failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import StoreUnavailableError

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # a frozen server costs a caller this much, then 503
REST_SECONDS = 0.5  # after that the next ones do not wait at all: they may be queueing already


class RestingPool(redis.ConnectionPool):
    """Connections; for a moment after one waited in vain, none, so that waits do not add up."""

    _rest_until = 0.0

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is ready.

        Raises:
            redis.ConnectionError: the server has just kept somebody waiting.
        """
        if time.monotonic() < self._rest_until:
            raise redis.ConnectionError("the server did not answer a moment ago")
        with self.noticing_timeouts():
            return super().get_connection(*args, **options)

    @contextmanager
    def noticing_timeouts(self) -> Iterator[None]:
        """Rest when what is done in here takes too long."""
        try:
            yield
        except redis.TimeoutError:
            self._rest_until = time.monotonic() + REST_SECONDS
            raise


def _noticing(kind: Any, pool: RestingPool) -> Any:
    """A kind of connection that tells the pool when a reply does not come in time."""

    class NoticingConnection(kind):  # type: ignore[misc]
        def read_response(self, *args: Any, **options: Any) -> Any:
            with pool.noticing_timeouts():
                return super().read_response(*args, **options)

    return NoticingConnection


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """A client that never waits longer than its timeout and never repeats a command by itself.

    A command whose reply was lost may have run; only the caller of the store knows whether to
    ask again (RECORD may be repeated, CLAIM may not).
    """
    pool = RestingPool.from_url(
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
