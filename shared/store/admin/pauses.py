"""Store what operators have paused: a queue, a channel, a provider, an organisation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.models import Reset
from shared.store import keys
from shared.store.admin.audit import MAX_KEPT
from shared.store.connection import Client, store_errors
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
    """A pause: recorded resets wait until it is resumed."""

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
    """The release of what a pause made wait: at once, or at a rate; workers carry it out."""

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
        """What is released."""
        return f"{self.scope}:{self.name}"

    @property
    def release_id(self) -> str:
        """A unique name that begins with what is released."""
        return f"{self.key}@{self.since.timestamp():.3f}"

    @property
    def serialised(self) -> str:
        """The record as stored in Redis."""
        since_ms = round(self.since.timestamp() * 1000)
        fields = [self.by, self.reason, since_ms, self.per_second, self.moved, self.too_late]
        return orjson.dumps(fields).decode()


class PauseStore:
    """Pause and resume; each change is in the audit trail, in the same step."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def pause(self, scope: Scope, name: str, *, by: str, reason: str) -> bool:
        """Pause; return False if it was paused already: the first pause and its reason stay."""
        record = orjson.dumps([by, reason, self._now_ms()]).decode()
        return self._change("pause", scope, name, record, by=by, reason=reason)

    def resume(
        self, scope: Scope, name: str, *, by: str, reason: str, per_second: float = 0
    ) -> bool:
        """Resume; return False if it was not paused. Workers release what waits in either case.

        `per_second` 0: all at once.
        """
        release = Release(scope, name, by, reason, moment(self._now_ms()), per_second)
        return self._change("resume", scope, name, release.serialised, by=by, reason=reason)

    def _change(
        self, verb: str, scope: Scope, name: str, record: str, *, by: str, reason: str
    ) -> bool:
        names = (keys.PAUSES, keys.RELEASES, keys.AUDIT)
        arguments = (verb, f"{scope}:{name}", record, by, f"{scope}.{verb}", name, reason, MAX_KEPT)
        return bool(self._scripts.run("admin/pause", names, arguments))

    def all(self) -> list[Pause]:
        """Return every pause in force."""
        with store_errors():
            found = self._client.hgetall(keys.PAUSES)
        return [_parse(key, record) for key, record in sorted(found.items())]

    def releases(self) -> list[Release]:
        """Return the releases under way."""
        with store_errors():
            found = self._client.hgetall(keys.RELEASES)
        return [_parse_release(key, record) for key, record in sorted(found.items())]

    def _now_ms(self) -> int:
        with store_errors():
            seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)


def _parse(key: str, record: str) -> Pause:
    scope, _, name = key.partition(":")
    by, reason, since_ms = orjson.loads(record)
    return Pause(Scope(scope), name, by, reason, moment(since_ms))


def _parse_release(key: str, record: str) -> Release:
    scope, _, name = key.partition(":")
    by, reason, since_ms, *figures = orjson.loads(record)
    return Release(Scope(scope), name, by, reason, moment(since_ms), *figures)
