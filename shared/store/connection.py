"""Connect to Redis, and translate its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from shared.errors import StoreUnavailableError
from shared.store.topology import TIMEOUT_SECONDS, connect, nodes_of
from shared.store.topology.single import RECENT_SECONDS, Client

__all__ = ["RECENT_SECONDS", "TIMEOUT_SECONDS", "Client", "connect", "nodes_of", "store_errors"]


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error
