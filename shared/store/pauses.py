"""What operators have stopped for a while: a queue, a channel, a provider, an organisation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.store import keys
from shared.store.audit import Act, append
from shared.store.connection import Client, store_errors
from shared.store.records import moment


class Scope(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    CHANNEL = "channel"
    PROVIDER = "provider"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent for this until it is resumed; what is recorded meanwhile waits."""

    scope: Scope
    name: str
    by: str
    reason: str
    since: datetime


class PauseStore:
    """Pauses and resumes; each change stands in the audit trail, in the same step."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def pause(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """False when it was paused already: the first pause and its reason stay."""
        with store_errors():
            seconds, microseconds = self._client.time()
            told = orjson.dumps([by, reason, seconds * 1000 + microseconds // 1000]).decode()
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hsetnx(keys.PAUSES, f"{scope}:{name}", told)
            append(pipeline, Act(by=by, action=f"{scope}.pause", target=name, reason=reason))
            return bool(pipeline.execute()[0])

    def resume(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """False when it was not paused."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hdel(keys.PAUSES, f"{scope}:{name}")
            append(pipeline, Act(by=by, action=f"{scope}.resume", target=name, reason=reason))
            return bool(pipeline.execute()[0])

    def all(self) -> list[Pause]:
        """Every pause in force."""
        with store_errors():
            found = self._client.hgetall(keys.PAUSES)
        return [_parse(key, told) for key, told in sorted(found.items())]


def _parse(key: str, told: str) -> Pause:
    scope, _, name = key.partition(":")
    by, reason, since_ms = orjson.loads(told)
    return Pause(Scope(scope), name, by, reason, moment(since_ms))
