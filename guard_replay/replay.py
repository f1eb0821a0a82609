"""Let the gate of the store judge traffic, by a clock that the replay turns."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import fakeredis
import structlog

from guard_replay.traffic import (
    HOUR_SECONDS,
    LIFETIME_SECONDS,
    Ask,
    Attack,
    ordinary_day,
    week_before,
)
from shared.errors import SmsSuspiciousError, TooManyRequestsError
from shared.guard.rules import DEFAULT_LEVELS, Guarded, counted_of, prefixes_of
from shared.store import keys
from shared.store.admin.prefixes import PrefixStore
from shared.store.limits import LimitStore

MIDNIGHT = 1_795_392_000.0  # 2026-11-23, UTC
BUCKET_SECONDS = 600


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    at: float = MIDNIGHT

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Let everything in this process read this clock; the store's server is in it too."""
        real = time.time
        time.time = lambda: self.at
        try:
            yield
        finally:
            time.time = real


@dataclass
class Outcome:
    """What became of a day's requests."""

    attack_sent: int = 0
    attack_refused: int = 0
    people_sent: int = 0
    people_refused: int = 0
    hour_sent: int = 0  # people, in the hour from the attack's beginning
    hour_refused: int = 0
    stopped: set[str] = field(default_factory=set)

    @property
    def hour_share(self) -> float:
        """Return the share of people refused in the hour of the attack."""
        return self.hour_refused / max(1, self.hour_sent + self.hour_refused)

    @property
    def day_share(self) -> float:
        """Return the share of people refused in the whole day."""
        return self.people_refused / max(1, self.people_sent + self.people_refused)


def replay(
    attack: Attack | None,
    *,
    resets: int = 4000,
    numbers: int = 12,
    levels: Sequence[tuple[str, str]] = DEFAULT_LEVELS,
    seed: int = 1,
    hours: tuple[int, int] = (0, 24),
    has_past: bool = True,
) -> Outcome:
    """Return what became of an ordinary day with an attack; only `hours` of it are replayed."""
    begins, ends = (hour * HOUR_SECONDS for hour in hours)
    asks = [ask for ask in ordinary_day(seed, resets) if begins <= ask.at < ends]
    asks += attack.asks(seed) if attack else ()
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
    limits, prefixes, clock, outcome = LimitStore(client), PrefixStore(client), Clock(), Outcome()
    hour = (attack.begins, attack.begins + HOUR_SECONDS) if attack else (0.0, 0.0)
    with clock.in_force(), structlog.testing.capture_logs():
        clock.at = MIDNIGHT + begins
        if has_past:
            bucket = int(clock.at // BUCKET_SECONDS)
            for prefix, (sent, used) in week_before(seed, resets).items():
                figures = {"b": bucket, "S": sent, "U": used, "s": 0, "u": 0}
                client.hset(keys.sms_subject(prefix), mapping=figures)
        used_later: list[tuple[float, str]] = []
        for number, ask in enumerate(sorted(asks, key=lambda ask: ask.at)):
            while used_later and used_later[0][0] <= ask.at:
                at, phone = heapq.heappop(used_later)
                clock.at = MIDNIGHT + at
                prefixes.note_used(phone, phone)
            clock.at = MIDNIGHT + ask.at
            is_sent = _judge(limits, ask, number, numbers, dict(levels), outcome)
            _count(outcome, ask, is_sent=is_sent, in_hour=hour[0] <= ask.at < hour[1])
            if is_sent and ask.used_after is not None:
                heapq.heappush(used_later, (ask.at + ask.used_after, ask.phone))
    return outcome


def _judge(
    limits: LimitStore,
    ask: Ask,
    number: int,
    numbers: int,
    levels: dict[str, str],
    outcome: Outcome,
) -> bool:
    prefixes = prefixes_of(ask.phone)
    guarded = Guarded(
        recipient_digest=ask.phone,
        prefixes=prefixes,
        counted=counted_of(prefixes),
        source="the one caller",
        levels=levels,
        numbers=numbers,
        lifetime_seconds=LIFETIME_SECONDS,
    )
    try:
        limits.pass_gate(
            (), recipient_digest="", version=-1, reset_id=f"r{number}", guarded=guarded
        )
    except SmsSuspiciousError as error:
        outcome.stopped.add(error.about)
        return False
    except TooManyRequestsError:
        return False
    return True


def _count(outcome: Outcome, ask: Ask, *, is_sent: bool, in_hour: bool) -> None:
    who = "attack" if ask.is_attack else "people"
    what = "sent" if is_sent else "refused"
    names = [f"{who}_{what}"]
    if in_hour and not ask.is_attack:
        names.append(f"hour_{what}")
    for name in names:
        setattr(outcome, name, getattr(outcome, name) + 1)
