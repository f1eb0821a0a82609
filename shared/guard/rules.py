"""Rules of SMS that cost money: prefixes, levels, budgets, kinds of lines; no input or output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.validation import nearest

LEVELS = ("off", "watch", "slow", "stop")  # the scripts know them by their index
RULES = ("velocity", "source", "conversion")
DEFAULT_LEVELS = (("velocity", "stop"), ("source", "watch"), ("conversion", "watch"))
SCOPES = ("all", "organisation", "country", "prefix")
PERIODS_SECONDS = {"hour": 3600, "day": 24 * 3600}
MAX_PREFIX_DIGITS = 4  # behind the country code: ten thousand numbers and fewer are people
# The lengths behind the country code that are counted; area codes of +1 have three digits.
COUNTED_DIGITS = (0, 2, MAX_PREFIX_DIGITS)
COUNTED_DIGITS_OF_1 = (0, 3, MAX_PREFIX_DIGITS)
BLOCK = "block"  # in place of a rule: an operator's
# Lines on which no person reads an SMS, by the setting's names.
# By phonenumbers' names in lower case; fixed_line for certain: not FIXED_LINE_OR_MOBILE.
LINES = (
    "premium_rate",
    "shared_cost",
    "toll_free",
    "uan",
    "pager",
    "voicemail",
    "fixed_line",
)
_BUDGET = re.compile(r"([a-z]+)=([0-9]+(?:\.[0-9]+)?) ?([^\W\d_]*)/([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many messages, or so much money, in an hour or a day."""

    scope: str  # one of SCOPES
    most: float
    currency: str  # empty: messages are counted
    period: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What the gate judges an SMS by; the number itself is not part of it."""

    recipient_digest: str
    prefixes: tuple[str, ...]  # those that an operator may name, the shortest first
    counted: tuple[str, ...]  # of them, those that are judged; none: an operator's own batch
    source: str  # who asks; empty: not known
    levels: Mapping[str, str]
    numbers: int  # that a country may always have open in an hour
    lifetime_seconds: float

    @property
    def source_subject(self) -> str:
        """Return the source as it is counted; empty if none is."""
        return f"source {self.source}" if self.source and self.counted else ""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return all that is judged."""
        return (*self.counted, *filter(None, [self.source_subject]))


def parse_levels(raw: str) -> tuple[tuple[str, str], ...]:
    """Parse `rule=level` between commas; what is not named keeps its default; `off` is all."""
    if raw.strip().lower() == "off":
        return tuple((rule, "off") for rule in RULES)
    found: dict[str, str] = {}
    for part in filter(None, (entry.strip().lower() for entry in raw.split(","))):
        rule, _, level = (word.strip() for word in part.partition("="))
        if rule not in RULES:
            raise ValueError(f"{rule} is no rule; the nearest is {nearest(rule, RULES)}")
        if level not in LEVELS:
            known = f"the nearest is {nearest(level, LEVELS)}" if level else "write velocity=stop"
            raise ValueError(f"{level or 'nothing'} is no level of {rule}; {known}")
        if rule in found:
            raise ValueError(f"names {rule} twice")
        found[rule] = level
    return tuple((dict(DEFAULT_LEVELS) | found).items())


def parse_budgets(raw: str) -> tuple[Budget, ...]:
    """Parse `scope=amount/period` between commas; an amount is of messages, or of a currency."""
    found: list[Budget] = []
    for part in filter(None, (entry.strip() for entry in raw.split(","))):
        match = _BUDGET.fullmatch(part)
        if match is None:
            raise ValueError(
                "must look like organisation=1000/day,country=50EUR/day,prefix=30/hour, "
                "with amounts of 0 or more"
            )
        scope, period, currency = match[1].lower(), match[4].lower(), match[3]
        for word, known in ((scope, SCOPES), (period, tuple(PERIODS_SECONDS))):
            if word not in known:
                raise ValueError(f"{word} is not known; the nearest is {nearest(word, known)}")
        if not currency and "." in match[2]:
            raise ValueError(f"{match[2]} messages are no whole number; name a currency for money")
        budget = Budget(scope, float(match[2]), currency, period)
        if any((b.scope, b.currency, b.period) == (scope, currency, period) for b in found):
            raise ValueError(f"names {scope} by {period} twice")
        found.append(budget)
    return tuple(budget for budget in found if budget.most)


def prefixes_of(phone: str) -> tuple[str, ...]:
    """Return the country code of a number, and it with one to four further digits."""
    import phonenumbers  # noqa: PLC0415

    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return ()
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    first = 1 + len(str(number.country_code))
    return tuple(text[: first + more] for more in range(MAX_PREFIX_DIGITS + 1))


def counted_of(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Return those of a number's prefixes that are counted, the shortest first."""
    digits = COUNTED_DIGITS_OF_1 if prefixes[:1] == ("+1",) else COUNTED_DIGITS
    return tuple(prefixes[more] for more in digits) if prefixes else ()


def is_blocked(named: Mapping[str, Sequence[str]], phone: str) -> bool:
    """Return True if the longest prefix of a number that operators named is blocked."""
    found = [named[prefix][0] for prefix in prefixes_of(phone) if prefix in named]
    return found[-1:] == [BLOCK]


def check_prefix(text: str) -> str:
    """Return a prefix as it is stored: `+41` or `+4179`, a country code and up to four digits."""
    prefix = re.sub(r"[ ().-]", "", text)
    if not re.fullmatch(r"\+[0-9]+", prefix) or not prefix.isascii():
        raise ValueError("must be a prefix such as +8801: a plus, a country code, further digits")
    import phonenumbers  # noqa: PLC0415

    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    length = next((n for n in (1, 2, 3) if n < len(prefix) and int(prefix[1 : n + 1]) in codes), 0)
    if not length:
        raise ValueError("must begin with the code of a country, such as +41")
    if len(prefix) > 1 + length + MAX_PREFIX_DIGITS:
        raise ValueError(f"must have at most {MAX_PREFIX_DIGITS} digits behind the country code")
    return prefix


def region_of_prefix(prefix: str) -> str | None:
    """Return the main region of a prefix's country code; None if it has none."""
    import phonenumbers  # noqa: PLC0415

    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    regions = next(
        (codes[int(prefix[1 : n + 1])] for n in (1, 2, 3) if int(prefix[1 : n + 1]) in codes), ()
    )
    return regions[0] if regions else None


def line_of(phone: str) -> str | None:
    """Return the kind of line of a number if no person reads SMS there, by its name in LINES."""
    import phonenumbers  # noqa: PLC0415

    try:
        kind = phonenumbers.number_type(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        return None
    types = phonenumbers.PhoneNumberType
    return next((name for name in LINES if getattr(types, name.upper()) == kind), None)
