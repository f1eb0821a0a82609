"""The right to work on a reset: what it is, what may come of it, and how the scripts are asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.models import Channel, Outcome, Queue, Reset, Status
from shared.policies import doubt_delay_seconds
from shared.settings import Settings
from shared.store import keys
from shared.store.digests import Digests
from shared.store.records import moment, pairs, parse_reset
from shared.store.scripts import Argument, SharingCall

MAX_CLAIMS = 5  # claims in a row that came to nothing: the record is poison
# How many keys and arguments of a script are a reset's own, where many are asked together.
OWN = {"claim": (1, 1), "sending": (1, 2), "finish": (3, 3)}
# Upper bounds of the provider call histogram, in ms; the last is open.
DURATION_BUCKETS_MS = (25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
# Upper bounds of the time from the record to a provider's yes, in ms.
ACCEPTED_BUCKETS_MS = (
    *(25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000),
    *(300000, 900000, 3600000),
)


class ClaimOverError(Exception):
    """The claim ended, or the code was voided or overtaken meanwhile."""


class TooLateError(Exception):
    """The code is about to expire: no attempt may start any more."""


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


class ResetCalls:
    """Keys and arguments of the scripts that claim, mark and finish, asked singly or together."""

    def __init__(self, digests: Digests, settings: Settings) -> None:
        """Nothing is asked yet."""
        self._digests = digests
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)
        self._lease_seconds = settings.lease_seconds
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._doubts_ms = [
            int(doubt_delay_seconds(channel, settings.doubt_seconds) * 1000)
            for channel in (Channel.EMAIL, Channel.SMS)
        ]

    def claim(self, reset_id: str) -> SharingCall:
        """For CLAIM."""
        tag = keys.tag_of(reset_id)
        places = (
            keys.reset(reset_id),
            keys.due(tag, Queue.URGENT),
            keys.due(tag, Queue.BULK),
            keys.counters(tag),
        )
        facts = (reset_id, self._lease_ms, MAX_CLAIMS, self._keep_ms, tag)
        return places, (*facts, *self._doubts_ms)

    def read_claim(self, reset_id: str, answer: list[Any], began: float) -> Claim | None:
        """What CLAIM answered; `began` is the monotonic moment just before it was asked."""
        if answer[0] != "claimed":
            return None
        reset = parse_reset(reset_id, pairs(answer[4:]))
        return Claim(
            reset, int(answer[2]), answer[3] == 1, moment(answer[1]), began + self._lease_seconds
        )

    def sending(
        self,
        claim: Claim,
        provider: str,
        recipient_digest: str,
        switch: tuple[str, str] | None = None,
    ) -> SharingCall:
        """For SENDING; `switch`: instead of which provider, and why."""
        reset_id = claim.reset.reset_id
        places = keys.reset(reset_id), keys.counters(keys.tag_of(reset_id))
        return places, (claim.fence, recipient_digest, provider, *(switch or ()))

    def finish(
        self, claim: Claim, finish: Finish, outcome: tuple[Argument, ...] | None = None
    ) -> SharingCall:
        """For FINISH; `outcome` is that of the finish, where it is known already."""
        reset = claim.reset
        tag, user = self._digests.user_place(reset.user_id)
        places = (
            keys.reset(reset.reset_id),
            keys.user(tag, user),
            keys.live(tag, user),
            keys.due(tag, reset.queue),
            keys.counters(tag),
        )
        own = (reset.reset_id, claim.fence, int(finish.delay_seconds * 1000))
        return places, own + (outcome or self._outcome(finish))

    def finish_all(self, ends: Sequence[tuple[Claim, Finish]]) -> list[SharingCall]:
        """The same for many; one finish may be that of many claims."""
        outcomes = {id(finish): self._outcome(finish) for finish in _each(ends)}
        return [self.finish(claim, finish, outcomes[id(finish)]) for claim, finish in ends]

    def _outcome(self, finish: Finish) -> tuple[Argument, ...]:
        place = bisect_left(DURATION_BUCKETS_MS, finish.duration_ms)
        bucket = DURATION_BUCKETS_MS[place] if place < len(DURATION_BUCKETS_MS) else "inf"
        return (
            *(finish.status.value, finish.reason, self._keep_ms),
            *(finish.outcome.value if finish.outcome else "", finish.provider_message_id),
            *(finish.detail, finish.duration_ms, finish.provider, bucket),
            *ACCEPTED_BUCKETS_MS,
        )


def _each(ends: Sequence[tuple[Claim, Finish]]) -> Iterable[Finish]:
    """Every finish once."""
    return {id(finish): finish for _, finish in ends}.values()
