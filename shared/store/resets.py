"""Resets in Redis: recorded, claimed, marked sending, finished, read; each step one script."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.errors import StoreUnavailableError, TooManyRequestsError
from shared.models import Channel, Kind, Outcome, Queue, Reset, Status
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import TIMEOUT_SECONDS, Client, store_errors
from shared.store.digests import Digests
from shared.store.records import moment, moment_from_us, pairs, parse_reset
from shared.store.scripts import Argument, Scripts

MAX_CLAIMS = 5  # claims in a row that came to nothing: the record is poison
MAX_LIVE_CODES = 3
PATIENCE_US = int(TIMEOUT_SECONDS * 800_000)  # less than the caller's, so 503 means: not recorded
# Upper bounds of the provider call histogram, in ms; the last is open.
DURATION_BUCKETS_MS = (25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class ClaimOverError(Exception):
    """The claim ended, or the code was voided or overtaken meanwhile."""


class TooLateError(Exception):
    """The code is about to expire: no attempt may start any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReset:
    """What is to be recorded."""

    reset_id: str
    user_id: str
    org_id: str
    channel: Channel
    language: str
    key_id: str
    lifetime_seconds: float
    last_start_seconds: float  # no attempt starts later than this before the deadline
    kind: Kind = Kind.RESET
    queue: Queue = Queue.URGENT
    cooldown_seconds: float = 0
    limit_per_hour: int = 0
    limit_per_day: int = 0
    asked_at_us: int = 0  # by Redis's clock; what reaches it too late after is not recorded; 0: is
    extra: Mapping[str, str] = field(default_factory=dict)  # rq, tp, b: see records.py


@dataclass(frozen=True, slots=True)
class Recorded:
    """A reset that stands in Redis; `is_new` is False when it stood there before."""

    reset_id: str
    created_at: datetime
    deadline_at: datetime
    sequence: int
    org_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a reset until the lease ends."""

    reset: Reset
    fence: int
    is_doubtful: bool  # an earlier attempt may have been taken
    now: datetime  # Redis's clock at the claim
    lease_ends: float  # on this machine's monotonic clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What came of a claim."""

    status: Status
    reason: str = ""
    delay_seconds: float = 0
    outcome: Outcome | None = None  # of the attempt; None when none was made
    provider: str = ""
    provider_message_id: str = ""
    detail: str = ""
    duration_ms: int = 0


class ResetStore:
    """The only place that reads and writes resets."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client)
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)
        self._lease_seconds = settings.lease_seconds

    def record(self, new: NewReset) -> Recorded:
        """Record a reset and its place in the due set, within the user's limits; one step.

        Repeating it with the same id changes nothing and gives the first record again.

        Raises:
            TooManyRequestsError: a limit of the user.
            StoreUnavailableError: nothing can be recorded now.
        """
        tag, user = self._digests.user_place(new.user_id)
        answer = self._scripts.run(
            "record", _record_keys(tag, user, new), self._arguments(tag, new)
        )
        if answer[0] == "limited":
            seconds = -(-int(answer[2]) // 1000)
            raise TooManyRequestsError(answer[1], retry_after_seconds=max(1, seconds))
        if answer[0] == "late":
            raise StoreUnavailableError
        return Recorded(
            new.reset_id,
            moment_from_us(answer[1]),
            moment(answer[2]),
            int(answer[3]),
            answer[4],
            is_new=answer[0] == "recorded",
        )

    def _arguments(self, tag: str, new: NewReset) -> list[Argument]:
        arguments: list[Argument] = [new.reset_id, new.user_id, new.org_id]
        arguments += [new.channel.value, new.queue.value]
        arguments += [int(new.lifetime_seconds * 1000), new.key_id, new.language, new.kind.value]
        arguments += [int(new.cooldown_seconds * 1000), new.limit_per_hour, new.limit_per_day]
        arguments += [MAX_LIVE_CODES, self._keep_ms, int(new.last_start_seconds * 1000), tag]
        arguments += [new.asked_at_us, PATIENCE_US]
        for pair in new.extra.items():
            arguments += pair
        return arguments

    def find(self, reset_id: str) -> Reset | None:
        """The reset with its attempts and events, or None when there is none by that id."""
        try:
            key = keys.reset(reset_id)
        except ValueError:
            return None
        with store_errors():
            record = self._client.hgetall(key)
        return parse_reset(reset_id, record) if record else None

    def find_of_user(self, user_id: str) -> list[Reset]:
        """The last resets of a user, newest first."""
        tag, user = self._digests.user_place(user_id)
        with store_errors():
            ids = self._client.zrevrange(keys.recent(tag, user), 0, -1)
        return [reset for reset_id in ids if (reset := self.find(reset_id))]

    def claim(self, reset_id: str) -> Claim | None:
        """The right to work on a reset, or None: somebody has it, it is not due, or it is over."""
        began = time.monotonic()
        tag = keys.tag_of(reset_id)
        answer = self._scripts.run(
            "claim",
            (
                keys.reset(reset_id),
                keys.due(tag, Queue.URGENT),
                keys.due(tag, Queue.BULK),
                keys.counters(tag),
            ),
            (reset_id, int(self._lease_seconds * 1000), MAX_CLAIMS, self._keep_ms, tag),
        )
        if answer[0] != "claimed":
            return None
        reset = parse_reset(reset_id, pairs(answer[4:]))
        return Claim(
            reset, int(answer[2]), answer[3] == 1, moment(answer[1]), began + self._lease_seconds
        )

    def mark_sending(self, claim: Claim, *, provider: str, recipient_digest: str) -> int:
        """The attempt's number; nothing may be handed over without it.

        Raises:
            ClaimOverError: somebody else has the reset, or its code must not go out any more.
            TooLateError: the code is about to expire.
        """
        reset_id = claim.reset.reset_id
        number = self._scripts.run(
            "sending",
            (keys.reset(reset_id), keys.counters(keys.tag_of(reset_id))),
            (claim.fence, provider, recipient_digest),
        )
        if number < 0:
            raise TooLateError
        if number == 0:
            raise ClaimOverError
        return int(number)

    def finish(self, claim: Claim, finish: Finish) -> bool:
        """Note what came of a claim; False when the claim was somebody else's by now.

        Safe to repeat when the answer was lost.
        """
        reset = claim.reset
        tag, (_, user) = keys.tag_of(reset.reset_id), self._digests.user_place(reset.user_id)
        bucket = next((b for b in DURATION_BUCKETS_MS if finish.duration_ms <= b), "inf")
        answer = self._scripts.run(
            "finish",
            (
                keys.reset(reset.reset_id),
                keys.due(tag, reset.queue),
                keys.user(tag, user),
                keys.live(tag, user),
                keys.counters(tag),
            ),
            (
                *(reset.reset_id, claim.fence, finish.status.value, finish.reason),
                *(int(finish.delay_seconds * 1000), self._keep_ms),
                *(finish.outcome.value if finish.outcome else "", finish.provider_message_id),
                *(finish.detail, finish.duration_ms, finish.provider, bucket),
            ),
        )
        return bool(answer)


def _record_keys(tag: str, user: str, new: NewReset) -> tuple[str, ...]:
    return (
        keys.reset(new.reset_id),
        keys.due(tag, new.queue),
        keys.user(tag, user),
        keys.live(tag, user),
        keys.recent(tag, user),
        keys.requests(tag, user),
        keys.counters(tag),
    )
