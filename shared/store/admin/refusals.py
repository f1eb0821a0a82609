"""Store the last refusals of a user: why no reset was recorded; no addresses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import orjson

from shared.models import Channel, Organisation
from shared.policies import refusal_lifetime_seconds
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.validation import moment

MAX_KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefusal:
    """Why no reset was recorded now."""

    error: str  # its name
    channel: Channel | None
    limit: str = ""  # which one, if a limit refused it
    wait_seconds: float = 0
    request_id: str = ""
    caller_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why no reset was recorded, and when."""

    error: str
    channel: Channel | None
    limit: str
    at: datetime  # the last time
    until: datetime  # of a limit, else `at`
    request_id: str
    caller_id: str
    times: int  # in a row
    since: datetime


class RefusalStore:
    """Record and read the last refusals of each user."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)
        self._settings = settings

    def record(
        self, user_id: str, new: NewRefusal, *, organisation: Organisation | None = None
    ) -> None:
        """Keep a refusal as long as the user's organisation wants."""
        keep_seconds = refusal_lifetime_seconds(self._settings, organisation)
        self._scripts.run(
            "reset/record_refusal",
            (keys.refusals(*self._digests.user_place(user_id)),),
            (
                *(new.error, new.channel.value if new.channel else "", new.limit),
                *(int(new.wait_seconds * 1000), new.request_id, new.caller_id),
                *(MAX_KEPT, int(keep_seconds * 1000)),
            ),
        )

    def find_of_user(self, user_id: str) -> list[Refusal]:
        """Return the last refusals, newest first."""
        with store_errors():
            found = self._client.lrange(keys.refusals(*self._digests.user_place(user_id)), 0, -1)
        return [_parse(item) for item in found]


def _parse(item: str) -> Refusal:
    error, channel, limit, at_ms, until_ms, request_id, caller_id, times, first_ms = orjson.loads(
        item
    )
    return Refusal(
        error=error,
        channel=Channel(channel) if channel else None,
        limit=limit,
        at=moment(at_ms),
        until=moment(until_ms),
        request_id=request_id,
        caller_id=caller_id,
        times=int(times),
        since=moment(first_ms),
    )
