"""The connection to Redis and the one translation of its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import StoreUnavailableError
from shared.store.pool import DoubtingPool, LeanRedis, Packer, noticing

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # a frozen server costs a caller this much, then 503


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
        command_packer=Packer(),
    )
    pool.connection_class = noticing(pool.connection_class, pool)
    return LeanRedis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis fails with into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error
