"""One server whose address Sentinel tells: asked for anew with every new connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPoolProxy,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from shared.store.topology.single import FailFastPool

TIMEOUT_SECONDS = 0.5  # of one Sentinel; the next is asked then


def sentinel_pool(
    sentinels: Sequence[tuple[str, int]],
    service: str,
    connection_class: type[Any],
    options: Mapping[str, Any],
    login: Mapping[str, str],
) -> FailFastPool:
    """Return a pool of connections to the primary.

    A connection that is refused, lost, or answers READONLY is closed by redis-py; the next one asks
    the Sentinels. Where the answer is another server, idle connections to the former are closed.
    `login`: to the Sentinels.
    """
    is_encrypted = issubclass(connection_class, redis.SSLConnection)
    shared = {name: value for name, value in options.items() if name.startswith("ssl_")}
    asking = shared | dict(login) | {"ssl": is_encrypted, "retry": options["retry"]}
    asking |= {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    manager = Sentinel(sentinels, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    managed = SentinelManagedSSLConnection if is_encrypted else SentinelManagedConnection
    pool = FailFastPool(managed, **options)
    pool.connection_kwargs["connection_pool"] = SentinelConnectionPoolProxy(  # type: ignore[no-untyped-call]
        connection_pool=pool,
        is_master=True,
        check_connection=False,
        service_name=service,
        sentinel_manager=manager,
    )
    return pool
