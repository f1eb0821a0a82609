"""How the store's server itself is: memory, the append-only file, replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from shared.store.connection import Client, store_errors


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """What INFO tells that somebody may have to act on."""

    memory_ratio: float  # of `maxmemory`, or of the machine's memory where there is no limit
    has_append_only_file: bool
    is_written: bool  # the last write to the append-only file went well, or there is none
    replicas: int  # connected


class ServerStore:
    """Asks the server about itself."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def health(self) -> ServerHealth | None:
        """None where the server does not let us ask.

        Raises:
            StoreUnavailableError: it does not answer.
        """
        with store_errors():
            try:
                facts: dict[str, Any] = self._client.info()
            except redis.ResponseError:
                return None
        limit = facts.get("maxmemory") or facts.get("total_system_memory") or 0
        return ServerHealth(
            facts.get("used_memory", 0) / limit if limit else 0.0,
            facts.get("aof_enabled") == 1,
            facts.get("aof_last_write_status", "ok") == "ok",
            facts.get("connected_slaves", 0),
        )
