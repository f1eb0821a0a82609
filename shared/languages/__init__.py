"""Choose a language and read its sentences, one TOML file each; format times and dates."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from babel import Locale, negotiate_locale
from babel.dates import format_date, format_time, get_timezone

from shared.errors import RenderError

if TYPE_CHECKING:
    from datetime import datetime

ENGLISH = "en"
# The resets of one minute share their words; a worker meets few minutes, zones and languages.
MAX_REMEMBERED = 2048
MAX_ZONE_CHARACTERS = 5  # CEST; longer names are spelled as an offset
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Sentence:
    """A sentence with `{name}` placeholders, taken apart once.

    Values are put in as they are and never read again: braces in a value mean nothing.
    """

    __slots__ = ("_pieces", "names", "text")

    def __init__(self, text: str) -> None:
        """`text` as it stands in the file."""
        self.text = text
        self._pieces = _PLACEHOLDER.split(text)  # words, name, words, name, …, words
        self.names = frozenset(self._pieces[1::2])

    def fill(self, values: dict[str, object]) -> str:
        """The sentence with its values; more values than placeholders are welcome.

        Raises:
            KeyError: a value is missing.
        """
        if not self.names:
            return self.text
        pieces = self._pieces.copy()
        pieces[1::2] = [str(values[name]) for name in pieces[1::2]]
        return "".join(pieces)


class Languages:
    """All languages by their tag; English is the one the others are measured by."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        """`folder` holds one TOML file per language, named by its tag."""
        self._books = {file.stem: _read(file) for file in sorted(folder.glob("*.toml"))}
        self._by_lower_tag = {tag.lower(): tag for tag in self._books}
        self.tags = tuple(self._books)

    def choose(self, *tags: str | None) -> str:
        """Return the first language we have, `de-CH` counting as `de`; else English."""
        wanted = (tag.replace("_", "-") for tag in tags if tag)
        found = negotiate_locale(wanted, self.tags, sep="-", aliases={})
        return self._by_lower_tag[found.lower()] if found else ENGLISH

    def translate(self, language: str, key: str, /, **values: object) -> str:
        """A sentence as plain text: `say("de", "reset.subject", organisation="Keyturn")`.

        Raises:
            RenderError: the language, the sentence or a value is missing.
        """
        try:
            return self._books[language][key].fill(values)
        except KeyError as error:
            raise RenderError(f"{language}: {key} lacks {error.args[0]}") from error

    def error(self, language: str, key: str) -> str | None:
        """A caller's error in a language; `key` is its public id or its class's name.

        None where the original words stand: in English, and for errors whose text names details.
        """
        sentence = self._books.get(language, {}).get(f"errors.{key}")
        return sentence.text if sentence and language != ENGLISH else None

    def sentences(self, language: str) -> dict[str, Sentence]:
        """All of a language by key, for those who check that nothing lacks."""
        return dict(self._books[language])


@cache
def _read(file: Path) -> dict[str, Sentence]:
    sections = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"{section}.{name}": Sentence(text)
        for section, sentences in sections.items()
        for name, text in sentences.items()
    }


def format_moment(language: str, at: datetime, time_zone: str) -> str:
    """The minute with its day and zone: `Montag, 23. November 2026, 15:05 MEZ`.

    Seconds are left out, so the words may be up to a minute early, never late.
    """
    return _format_minute(language, at.replace(second=0, microsecond=0), time_zone)


def format_clock_time(language: str, at: datetime, time_zone: str) -> str:
    """The minute of the day with its zone, in ASCII, at most 15 characters: `15:05 MEZ`."""
    return _format_clock(language, at.replace(second=0, microsecond=0), time_zone)


@lru_cache(maxsize=MAX_REMEMBERED)
def _format_minute(language: str, at: datetime, time_zone: str) -> str:
    here, locale = at.astimezone(get_timezone(time_zone)), Locale.parse(language, sep="-")
    day = format_date(here, "full", locale=locale)
    clock = format_time(here, "short", tzinfo=here.tzinfo, locale=locale)
    # Babel joins "4:05 PM" by a narrow blank, which many mail fonts lack.
    return f"{day}, {clock} {_zone(here, locale)}".replace("\u202f", "\u00a0")


@lru_cache(maxsize=MAX_REMEMBERED)
def _format_clock(language: str, at: datetime, time_zone: str) -> str:
    here = at.astimezone(get_timezone(time_zone))
    return f"{here:%H:%M} {_zone(here, Locale.parse(language, sep='-'))}"


def _zone(here: datetime, locale: Locale) -> str:
    """The zone's short name where readers of the language know one, else `UTC+5:45`."""
    minutes = round((here.utcoffset() or here - here).total_seconds() / 60)
    name = format_time(here, "z", tzinfo=here.tzinfo, locale=locale) if minutes else "UTC"
    if name.isascii() and name.isalpha() and len(name) <= MAX_ZONE_CHARACTERS:
        return name
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")
