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


@dataclass(frozen=True, slots=True)
class Release:
    """What a pause made wait is let go: at once, or so many a second; workers do it."""

    scope: Scope
    name: str
    by: str
    reason: str
    since: datetime
    per_second: float = 0  # 0: all at once
    moved: int = 0
    too_late: int = 0  # of them, those whose code's life ends before their turn

    @property
    def key(self) -> str:
        """What is released."""
        return f"{self.scope}:{self.name}"

    @property
    def release_id(self) -> str:
        """A name of its own, which begins with what is released."""
        return f"{self.key}@{self.since.timestamp():.3f}"

    @property
    def told(self) -> str:
        """As it stands in Redis."""
        since_ms = round(self.since.timestamp() * 1000)
        facts = [self.by, self.reason, since_ms, self.per_second, self.moved, self.too_late]
        return orjson.dumps(facts).decode()


class PauseStore:
    """Pauses and resumes; each change stands in the audit trail, in the same step."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def pause(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """False when it was paused already: the first pause and its reason stay."""
        with store_errors():
            told = orjson.dumps([by, reason, self._now_ms()]).decode()
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hsetnx(keys.PAUSES, f"{scope}:{name}", told)
            pipeline.hdel(keys.RELEASES, f"{scope}:{name}")
            append(pipeline, Act(by=by, action=f"{scope}.pause", target=name, reason=reason))
            return bool(pipeline.execute()[0])

    def resume(
        self, scope: Scope, name: str, *, by: str, reason: str, per_second: float = 0
    ) -> bool:
        """False when it was not paused; what waits is let go either way, by the workers.

        `per_second` 0: all at once.
        """
        with store_errors():
            release = Release(scope, name, by, reason, moment(self._now_ms()), per_second)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hdel(keys.PAUSES, release.key)
            pipeline.hset(keys.RELEASES, release.key, release.told)
            append(pipeline, Act(by=by, action=f"{scope}.resume", target=name, reason=reason))
            return bool(pipeline.execute()[0])

    def all(self) -> list[Pause]:
        """Every pause in force."""
        with store_errors():
            found = self._client.hgetall(keys.PAUSES)
        return [_parse(key, told) for key, told in sorted(found.items())]

    def releases(self) -> list[Release]:
        """What is being let go now."""
        with store_errors():
            found = self._client.hgetall(keys.RELEASES)
        return [_parse_release(key, told) for key, told in sorted(found.items())]

    def _now_ms(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)


def _parse(key: str, told: str) -> Pause:
    scope, _, name = key.partition(":")
    by, reason, since_ms = orjson.loads(told)
    return Pause(Scope(scope), name, by, reason, moment(since_ms))


def _parse_release(key: str, told: str) -> Release:
    scope, _, name = key.partition(":")
    by, reason, since_ms, *figures = orjson.loads(told)
    return Release(Scope(scope), name, by, reason, moment(since_ms), *figures)
