"""Store a user's last refused requests and the reasons, without addresses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import orjson

from shared.models import Channel
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.validation import moment

MAX_KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefusal:
    """A refused request, to be stored."""

    word: str  # the name of the error
    channel: Channel | None
    limit: str = ""  # which, where it was one
    wait_seconds: float = 0
    request_id: str = ""
    caller_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused request as stored."""

    word: str
    channel: Channel | None
    limit: str
    at: datetime  # the last time
    until: datetime  # equals `at` where waiting does not help
    request_id: str
    caller_id: str
    times: int  # in a row
    since: datetime


class RefusalStore:
    """Record and read refusals."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)

    def note(self, user_id: str, new: NewRefusal) -> None:
        """Record a refusal; it is kept as long as a finished reset."""
        self._scripts.run(
            "reset/record_refusal",
            (keys.refusals(*self._digests.user_place(user_id)),),
            (
                *(new.word, new.channel.value if new.channel else "", new.limit),
                *(int(new.wait_seconds * 1000), new.request_id, new.caller_id),
                *(MAX_KEPT, self._keep_ms),
            ),
        )

    def find_of_user(self, user_id: str) -> list[Refusal]:
        """Return a user's last refusals, newest first."""
        with store_errors():
            found = self._client.lrange(keys.refusals(*self._digests.user_place(user_id)), 0, -1)
        return [_parse(item) for item in found]


def _parse(item: str) -> Refusal:
    word, channel, limit, at_ms, until_ms, request_id, caller_id, times, first_ms = orjson.loads(
        item
    )
    return Refusal(
        word=word,
        channel=Channel(channel) if channel else None,
        limit=limit,
        at=moment(at_ms),
        until=moment(until_ms),
        request_id=request_id,
        caller_id=caller_id,
        times=int(times),
        since=moment(first_ms),
    )
