"""What operators have stopped for a while: a queue, a channel, a provider, an organisation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.models import Reset
from shared.store import keys
from shared.store.admin.audit import MAX_KEPT, Act, append
from shared.store.connection import Client, store_errors
from shared.store.records import moment
from shared.store.scripts import Scripts


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

    def covers(self, reset: Reset, providers: Collection[str] = ()) -> bool:
        """Return whether it keeps a reset from going out; `providers` are those it waits for."""
        match self.scope:
            case Scope.QUEUE:
                return self.name == reset.queue
            case Scope.CHANNEL:
                return self.name == reset.channel
            case Scope.ORGANISATION:
                return self.name == reset.org_id
            case Scope.PROVIDER:
                return self.name in providers


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
        self._client, self._scripts = client, Scripts(client)

    def pause(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """False when it was paused already: the first pause and its reason stay."""
        told = orjson.dumps([by, reason, self._now_ms()]).decode()
        return self._change("pause", scope, name, told, by=by, reason=reason)

    def resume(
        self, scope: Scope, name: str, *, by: str, reason: str, per_second: float = 0
    ) -> bool:
        """False when it was not paused; what waits is let go either way, by the workers.

        `per_second` 0: all at once.
        """
        release = Release(scope, name, by, reason, moment(self._now_ms()), per_second)
        return self._change("resume", scope, name, release.told, by=by, reason=reason)

    def _change(
        self, verb: str, scope: Scope, name: str, told: str, *, by: str, reason: str
    ) -> bool:
        where = (keys.PAUSES, keys.RELEASES, keys.AUDIT)
        facts = (verb, f"{scope}:{name}", told, by, f"{scope}.{verb}", name, reason, MAX_KEPT)
        return bool(self._scripts.run("pause", where, facts))

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
        with store_errors():
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


class WeightStore:
    """Sets and clears weights; each change stands in the audit trail, in the same step."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def set(self, provider: str, percent: int, *, by: str, reason: str) -> None:
        """Give a provider so many in a hundred first attempts of its channel."""
        act = Act(by=by, action=f"provider.weight {percent}", target=provider, reason=reason)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(keys.WEIGHTS, provider, percent)
            append(pipeline, act)
            pipeline.execute()

    def clear(self, provider: str, *, by: str, reason: str) -> bool:
        """Back to its place in the list; False when it had no weight."""
        act = Act(by=by, action="provider.weight none", target=provider, reason=reason)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hdel(keys.WEIGHTS, provider)
            append(pipeline, act)
            return bool(pipeline.execute()[0])

    def all(self) -> dict[str, int]:
        """Provider → percent, for those that have a weight."""
        with store_errors():
            found = self._client.hgetall(keys.WEIGHTS)
        return {name: int(percent) for name, percent in found.items()}
