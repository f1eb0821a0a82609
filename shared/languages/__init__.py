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
# The resets of one minute share their texts; there are few minutes, zones and languages.
MAX_CACHED = 2048
MAX_ZONE_CHARACTERS = 5  # CEST; longer names are written as an offset
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Sentence:
    """A sentence with `{name}` placeholders, parsed once.

    Values are inserted as they are and never parsed: braces in a value have no meaning.
    """

    __slots__ = ("_pieces", "names", "text")

    def __init__(self, text: str) -> None:
        """`text` is as in the file."""
        self.text = text
        self._pieces = _PLACEHOLDER.split(text)  # text, name, text, name, …, text
        self.names = frozenset(self._pieces[1::2])

    def fill(self, values: dict[str, object]) -> str:
        """Insert the values; values without a placeholder are ignored.

        Raises:
            KeyError: a value is missing.
        """
        if not self.names:
            return self.text
        pieces = self._pieces.copy()
        pieces[1::2] = [str(values[name]) for name in pieces[1::2]]
        return "".join(pieces)


class Languages:
    """All languages by their tag; English is the reference and the default."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        """`folder` holds one TOML file per language, named by its tag."""
        self._sentences = {file.stem: _read(file) for file in sorted(folder.glob("*.toml"))}
        self._by_lower_tag = {tag.lower(): tag for tag in self._sentences}
        self.tags = tuple(self._sentences)

    def choose(self, *tags: str | None) -> str:
        """Return the first language we have, `de-CH` counting as `de`; else English."""
        preferred = (tag.replace("_", "-") for tag in tags if tag)
        found = negotiate_locale(preferred, self.tags, sep="-", aliases={})
        return self._by_lower_tag[found.lower()] if found else ENGLISH

    def translate(self, language: str, key: str, /, **values: object) -> str:
        """Return a sentence as plain text: `translate("de", "mail.automatic")`.

        Raises:
            RenderError: the language, the sentence or a value is missing.
        """
        try:
            return self._sentences[language][key].fill(values)
        except KeyError as error:
            raise RenderError(f"{language}: {key} lacks {error.args[0]}") from error

    def error(self, language: str, key: str) -> str | None:
        """Return the translation of an error; `key` is its public id or its class's name.

        None if there is none: in English, and for errors whose text contains details.
        """
        sentence = self._sentences.get(language, {}).get(f"errors.{key}")
        return sentence.text if sentence and language != ENGLISH else None

    def sentences(self, language: str) -> dict[str, Sentence]:
        """Return all sentences of a language by key, for checks of completeness."""
        return dict(self._sentences[language])


@cache
def _read(file: Path) -> dict[str, Sentence]:
    sections = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"{section}.{name}": Sentence(text)
        for section, sentences in sections.items()
        for name, text in sentences.items()
    }


def format_moment(language: str, at: datetime, time_zone: str) -> str:
    """Format a time with its day and zone: `Montag, 23. November 2026, 15:05 MEZ`.

    Seconds are cut, so the text may be up to a minute early, never late.
    """
    return _format_minute(language, at.replace(second=0, microsecond=0), time_zone)


def format_clock_time(language: str, at: datetime, time_zone: str) -> str:
    """Format a time of day with its zone, in ASCII, at most 15 characters: `15:05 MEZ`."""
    return _format_clock(language, at.replace(second=0, microsecond=0), time_zone)


@lru_cache(maxsize=MAX_CACHED)
def _format_minute(language: str, at: datetime, time_zone: str) -> str:
    local, locale = at.astimezone(get_timezone(time_zone)), Locale.parse(language, sep="-")
    day = format_date(local, "full", locale=locale)
    clock = format_time(local, "short", tzinfo=local.tzinfo, locale=locale)
    # Babel joins "4:05 PM" by a narrow blank, which many mail fonts lack.
    return f"{day}, {clock} {_zone(local, locale)}".replace("\u202f", "\u00a0")


@lru_cache(maxsize=MAX_CACHED)
def _format_clock(language: str, at: datetime, time_zone: str) -> str:
    local = at.astimezone(get_timezone(time_zone))
    return f"{local:%H:%M} {_zone(local, Locale.parse(language, sep='-'))}"


def _zone(local: datetime, locale: Locale) -> str:
    """Return the zone's short name in the language if there is one, else `UTC+5:45`."""
    minutes = round((local.utcoffset() or local - local).total_seconds() / 60)
    name = format_time(local, "z", tzinfo=local.tzinfo, locale=locale) if minutes else "UTC"
    if name.isascii() and name.isalpha() and len(name) <= MAX_ZONE_CHARACTERS:
        return name
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")
