"""Make the traffic of an ordinary day, and of an attack; a seed makes the same each time."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.guard.rules import counted_of, prefixes_of

DAY_SECONDS, HOUR_SECONDS = 86400, 3600
# How much of a day falls into each hour, and of all people into each country: what begins their
# numbers, and how many digits follow.
HOURS = (10, 6, 4, 3, 4, 8, 20, 40, 65, 75, 75, 70, 60, 60, 65, 65, 60, 55, 50, 45, 40, 35, 25, 16)
COUNTRIES: tuple[tuple[float, tuple[str, ...], int], ...] = (
    (40, ("+4176", "+4177", "+4178", "+4179"), 7),
    (22, ("+49151", "+49152", "+49160", "+49170", "+49171", "+49172", "+49175", "+49176"), 8),
    (10, ("+43650", "+43660", "+43664", "+43676"), 7),
    (6, ("+336", "+337"), 8),
    (5, ("+39320", "+39328", "+39333", "+39347"), 7),
    (4, ("+4474", "+4475", "+4477", "+4478", "+4479"), 8),
    (3, ("+346",), 8),
    (2.5, ("+1212", "+1415", "+1617", "+1312"), 7),
    (2, ("+4850", "+4860", "+4869"), 7),
    (1.5, ("+3161", "+3162", "+3164"), 7),
    (1, ("+35191", "+35196"), 7),
    (0.8, ("+38164", "+38163"), 6),
    (0.7, ("+9053", "+9054"), 8),
    (0.5, ("+5511", "+5521"), 9),
    (0.4, ("+9198", "+9199"), 8),
    (0.3, ("+6281",), 9),
    (0.3, ("+21269",), 7),
)
CONVERSIONS = (0.70, 0.85)  # of a country: each has its own
ASK_AGAIN = 0.06  # people whose first code did not help, and who ask again
USED_AFTER_SECONDS = 70.0  # the median
LIFETIME_SECONDS = 600.0


@dataclass(frozen=True, slots=True, order=True)
class Ask:
    """Someone asks for a code by SMS."""

    at: float  # seconds since midnight
    phone: str
    used_after: float | None  # seconds
    is_attack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """Many numbers, for none of which a code is ever used."""

    begins: float
    lasts: float
    # What begins the numbers, how many digits follow, and whether they come one after the other.
    ranges: tuple[tuple[str, int, bool], ...] = (
        ("+8801712", 6, True),
        ("+628", 9, False),
        ("+447911", 6, True),
    )
    numbers: int = 5000

    def asks(self, seed: int) -> Iterator[Ask]:
        """Yield the attack's requests, its countries in turn."""
        dice = random.Random(seed)
        for index in range(self.numbers):
            start, digits, is_sequential = self.ranges[index % len(self.ranges)]
            tail = index if is_sequential else dice.randrange(10**digits)
            at = self.begins + self.lasts * index / self.numbers
            yield Ask(at, f"{start}{tail:0{digits}}", None, is_attack=True)


def ordinary_day(seed: int, resets: int) -> list[Ask]:
    """Return about so many requests of a day, in order."""
    dice = random.Random(seed)
    weights = [weight for weight, _, _ in COUNTRIES]
    asks = []
    for _ in range(resets):
        country = dice.choices(range(len(COUNTRIES)), weights)[0]
        _, starts, digits = COUNTRIES[country]
        phone = f"{dice.choice(starts)}{dice.randrange(10**digits):0{digits}}"
        hour = dice.choices(range(24), HOURS)[0]
        at = (hour + dice.random()) * HOUR_SECONDS
        low, high = CONVERSIONS
        share = low + (high - low) * (country * 7 % len(COUNTRIES)) / len(COUNTRIES)
        after = dice.lognormvariate(math.log(USED_AFTER_SECONDS), 0.8)
        used_after = after if dice.random() < share and after < LIFETIME_SECONDS else None
        asks.append(Ask(at, phone, used_after))
        if used_after is None and dice.random() < ASK_AGAIN:
            asks.append(Ask(at + dice.uniform(90, 400), phone, USED_AFTER_SECONDS))
    return sorted(asks, key=lambda ask: ask.at)


def week_before(seed: int, resets: int) -> Mapping[str, tuple[float, float]]:
    """Return codes sent and used of each prefix in the days before, as the script weighs them."""
    sent: Counter[str] = Counter()
    used: Counter[str] = Counter()
    days = 3  # of other dice; as many weeks of such days weigh seven of them
    for day in range(days):
        for ask in ordinary_day(seed * 1000 + day + 1, resets):
            for prefix in counted_of(prefixes_of(ask.phone)):
                sent[prefix] += 1
                used[prefix] += ask.used_after is not None
    return {prefix: (sent[prefix] * 7 / days, used[prefix] * 7 / days) for prefix in sent}
