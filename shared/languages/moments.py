"""Moments in a reader's words: when a code stops working, when a password was changed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from babel import Locale
from babel.dates import format_date, format_time, get_timezone

if TYPE_CHECKING:
    from datetime import datetime

# The resets of one minute share their words; a worker meets few minutes, zones and languages.
MOST_REMEMBERED = 2048
MOST_ZONE_CHARACTERS = 5  # CEST; longer names are spelled as an offset


def spell_moment(language: str, at: datetime, time_zone: str) -> str:
    """The minute with its day and zone: `Montag, 23. November 2026, 15:05 MEZ`.

    Seconds are left out, so the words may be up to a minute early, never late.
    """
    return _spell_minute(language, at.replace(second=0, microsecond=0), time_zone)


def spell_time(language: str, at: datetime, time_zone: str) -> str:
    """The minute of the day with its zone, in ASCII, at most 15 characters: `15:05 MEZ`."""
    return _spell_clock(language, at.replace(second=0, microsecond=0), time_zone)


@lru_cache(maxsize=MOST_REMEMBERED)
def _spell_minute(language: str, at: datetime, time_zone: str) -> str:
    here, locale = at.astimezone(get_timezone(time_zone)), Locale.parse(language, sep="-")
    day = format_date(here, "full", locale=locale)
    clock = format_time(here, "short", tzinfo=here.tzinfo, locale=locale)
    # Babel joins "4:05 PM" by a narrow blank, which many mail fonts lack.
    return f"{day}, {clock} {_zone(here, locale)}".replace("\u202f", "\u00a0")


@lru_cache(maxsize=MOST_REMEMBERED)
def _spell_clock(language: str, at: datetime, time_zone: str) -> str:
    here = at.astimezone(get_timezone(time_zone))
    return f"{here:%H:%M} {_zone(here, Locale.parse(language, sep='-'))}"


def _zone(here: datetime, locale: Locale) -> str:
    """The zone's short name where readers of the language know one, else `UTC+5:45`."""
    minutes = round((here.utcoffset() or here - here).total_seconds() / 60)
    name = format_time(here, "z", tzinfo=here.tzinfo, locale=locale) if minutes else "UTC"
    if name.isascii() and name.isalpha() and len(name) <= MOST_ZONE_CHARACTERS:
        return name
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")
