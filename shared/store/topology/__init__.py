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
    kind = kind_of(url)
    if not kind:
        return StoreRedis.from_pool(FailFastPool.from_url(url, **options))
    parts = urlsplit(url)
    login, at, places = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if kind == CLUSTER:
        service, database = "", service
    own = dict(parse_qsl(parts.query))
    sentinel_login = {
        name: own.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in own
    }
    scheme = parts.scheme.removesuffix(kind)
    # redis-py reads the rest, as of a single server.
    options |= parse_url(f"{scheme}://{login}{at}h/{database}?{urlencode(own)}")  # type: ignore[no-untyped-call]
    del options["host"]
    addresses = [_address(place, PORTS[kind]) for place in places.split(",")]
    connection_class = options.pop("connection_class", redis.Connection)
    if kind == CLUSTER:
        if options.get("db"):
            raise ValueError("a cluster has no databases")
        return StoreCluster(addresses, connection_class, options)
    if not service:
        raise ValueError("Sentinel's name of the primary is missing")
    return StoreRedis.from_pool(
        sentinel_pool(addresses, service, connection_class, options, sentinel_login)
    )


def kind_of(url: str) -> str:
    """Return `+sentinel`, `+cluster`, or an empty text for a single server."""
    scheme = url.partition("://")[0]
    return next((kind for kind in PORTS if scheme in (f"redis{kind}", f"rediss{kind}")), "")


def nodes_of(client: Client) -> list[Client]:
    """Return a client of each node that holds data."""
    return client.nodes() if isinstance(client, StoreCluster) else [client]


def _address(place: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port
