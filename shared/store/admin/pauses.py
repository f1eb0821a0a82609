"""Store pauses of a queue, a channel, a provider or an organisation, and their releases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.models import Reset
from shared.store import keys
from shared.store.connection import Client, store_errors, time_ms
from shared.store.scripts import Scripts
from shared.validation import moment


class Scope(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    CHANNEL = "channel"
    PROVIDER = "provider"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True)
class Pause:
    """Sending is stopped until it is resumed; what is recorded meanwhile waits."""

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
    """Workers make what waited for a pause due again: at once, or at a rate."""

    scope: Scope
    name: str
    by: str
    reason: str
    since: datetime
    per_second: float = 0  # 0: all at once
    moved: int = 0
    too_late: int = 0  # of them, those whose code expires before their turn

    @property
    def key(self) -> str:
        """Return what is released, as `scope:name`."""
        return f"{self.scope}:{self.name}"

    @property
    def release_id(self) -> str:
        """Return a unique id that begins with what is released."""
        return f"{self.key}@{self.since.timestamp():.3f}"

    @property
    def serialised(self) -> str:
        """Return it as Redis holds it."""
        since_ms = round(self.since.timestamp() * 1000)
        values = [self.by, self.reason, since_ms, self.per_second, self.moved, self.too_late]
        return orjson.dumps(values).decode()


class PauseStore:
    """Pause and resume."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def pause(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """Pause; return False if it is paused already, by the first pause and its reason."""
        value = orjson.dumps([by, reason, time_ms(self._client)]).decode()
        return self._change("pause", scope, name, value)

    def resume(
        self, scope: Scope, name: str, *, by: str, reason: str, per_second: float = 0
    ) -> bool:
        """Resume, and release what waits, all at once if `per_second` is 0.

        Return False if it was not paused; what waits is released either way.
        """
        release = Release(scope, name, by, reason, moment(time_ms(self._client)), per_second)
        return self._change("resume", scope, name, release.serialised)

    def _change(self, verb: str, scope: Scope, name: str, value: str) -> bool:
        values = (verb, f"{scope}:{name}", value)
        return bool(self._scripts.run("admin/pause", (keys.PAUSES, keys.RELEASES), values))

    def all(self) -> list[Pause]:
        """Return every pause in force."""
        with store_errors():
            found = self._client.hgetall(keys.PAUSES)
        return [_parse(key, value) for key, value in sorted(found.items())]

    def releases(self) -> list[Release]:
        """Return what is being released now."""
        with store_errors():
            found = self._client.hgetall(keys.RELEASES)
        return [_parse_release(key, value) for key, value in sorted(found.items())]


def _parse(key: str, value: str) -> Pause:
    scope, _, name = key.partition(":")
    by, reason, since_ms = orjson.loads(value)
    return Pause(Scope(scope), name, by, reason, moment(since_ms))


def _parse_release(key: str, value: str) -> Release:
    scope, _, name = key.partition(":")
    by, reason, since_ms, *figures = orjson.loads(value)
    return Release(Scope(scope), name, by, reason, moment(since_ms), *figures)
