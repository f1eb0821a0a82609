"""What the store needs to connect to Redis, of whatever kind."""

from shared.store.topology import TIMEOUT_SECONDS, connect, nodes_of
from shared.store.topology.cluster import AWAY
from shared.store.topology.single import Client, none_exists, store_errors, time_ms

__all__ = [
    "AWAY",
    "TIMEOUT_SECONDS",
    "Client",
    "connect",
    "nodes_of",
    "none_exists",
    "store_errors",
    "time_ms",
]
