"""What kind of Redis holds the store: one server, one found by Sentinel, or a cluster.

Above this folder no code asks which: clients have the same commands, fail within the timeout, and
send each command at most once. Source: docs/decisions/0033-redis-beyond-one-machine.md
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.credentials import CredentialProvider
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from shared.store.topology.cluster import StoreCluster
from shared.store.topology.sentinel import sentinel_pool
from shared.store.topology.single import Client, FailFastPool, StoreRedis

TIMEOUT_SECONDS = 1.5  # the longest a caller waits for a frozen server before it answers 503
MAX_CONNECTIONS = 10_000  # each thread uses one, so the settings of threads are the real bound
SENTINEL, CLUSTER = "+sentinel", "+cluster"
PORTS = {SENTINEL: 26379, CLUSTER: 6379}
SENTINEL_LOGIN = "sentinel_"


def connect(
    url: str,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    ca_file: str = "",
    credentials: CredentialProvider | None = None,
) -> Client:
    """Return a client that fails within the timeout and sends each command at most once.

    redis-py repeats commands by default. A command whose reply was lost may have run; only the
    caller of the store knows whether it may run again (recording a reset may, a claim may not).
    The pool replaces connections that the server closed while idle, before a command is written.

    Raises:
        ValueError: the URL is malformed.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": MAX_CONNECTIONS,
        # While these are on, the pool does not check connections for unread replies.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if ca_file and url.startswith("rediss"):
        options["ssl_ca_certs"] = ca_file
    if credentials:
        options["credential_provider"] = credentials
    scheme, kind = _split_scheme(url)
    if not kind:
        return StoreRedis.from_pool(FailFastPool.from_url(url, **options))
    parts = urlsplit(url)
    login, at, places = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if kind == CLUSTER:
        service, database = "", service or "0"
    is_named = int(database or 0) == 0 if kind == CLUSTER else service
    if not is_named or not (database or "0").isdecimal():
        raise ValueError("a cluster has one database; a primary of Sentinels has a name")
    own = dict(parse_qsl(parts.query))
    names = [name for name in own if name.startswith(SENTINEL_LOGIN)]
    sentinel_login = {name.removeprefix(SENTINEL_LOGIN): own.pop(name) for name in names}
    # redis-py reads the rest, as of a single server.
    options |= parse_url(f"{scheme}://{login}{at}h/{database}?{urlencode(own)}")  # type: ignore[no-untyped-call]
    del options["host"]
    addresses = [_address(place, PORTS[kind]) for place in places.split(",")]
    connection_class = options.pop("connection_class", redis.Connection)
    if kind == CLUSTER:
        return StoreCluster(addresses, connection_class, options)
    pool = sentinel_pool(addresses, service, connection_class, options, sentinel_login)
    return StoreRedis.from_pool(pool)


def _split_scheme(url: str) -> tuple[str, str]:
    """Return `redis` or `rediss`, and `+sentinel`, `+cluster`, or nothing for a single server."""
    scheme, plus, kind = url.partition("://")[0].lower().partition("+")
    is_known = scheme in ("redis", "rediss") and plus + kind in PORTS
    return scheme, plus + kind if is_known else ""


def nodes_of(client: Client) -> list[Client]:
    """Return a client of each node that holds data."""
    return client.nodes() if isinstance(client, StoreCluster) else [client]


def _address(place: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port
