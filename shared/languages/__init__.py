"""Choose a language and read its sentences, one TOML file each; format times, dates and lists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from shared.errors import RenderError

if TYPE_CHECKING:
    from datetime import datetime

    from babel import Locale

    from shared.models import Organisation, User

ENGLISH = "en"
# CLDR's distance: 0 to 9 for forms of a language and the nearest ones (gsw and de, bs and hr), up
# to 15 for what is written like another (yue-HK and zh-Hant), 20 and more for readers who often
# know another one too: their next wish, or the organisation's language, is the better guess.
MAX_DISTANCE = 15
NORWEGIAN = re.compile(r"nn(?=$|[-_])", re.IGNORECASE)  # at 20, yet all who read it read nb
MAX_TAG_CHARACTERS = 35  # RFC 5646, 4.4.1
MISSES_UNTIL_FORGOTTEN = 500
# The resets of one minute share their texts; there are few minutes, zones and languages.
MAX_CACHED = 2048
MAX_ZONE_CHARACTERS = 5  # CEST; longer names are written as an offset
ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # Unicode, UAX 9: what is between has its own direction
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


class Plural(Sentence):
    """A sentence about a number, in the forms that CLDR's plural rule of its language tells apart.

    `rules = { one = "…", few = "…", other = "…" }`; the number is the one value that is an int.
    """

    __slots__ = ("_forms", "_rule")

    def __init__(self, forms: dict[str, str], language: str) -> None:
        """`forms` are by their names; the last one stands for those that are not there."""
        super().__init__([*forms.values()][-1])
        self._forms = {name: Sentence(text) for name, text in forms.items()}
        self._rule = _locale(language).plural_form

    @property
    def forms(self) -> dict[str, Sentence]:
        """Return all forms by name, for checks of completeness."""
        return dict(self._forms)

    def fill(self, values: dict[str, object]) -> str:
        """Insert the values into the form for their number.

        Raises:
            KeyError: a value is missing.
        """
        number = next((value for value in values.values() if isinstance(value, int)), None)
        form = self._forms.get(self._rule(number)) if number is not None else None
        return form.fill(values) if form else super().fill(values)


class Languages:
    """All languages by their tag; English is the reference and the default."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        """`folder` holds one TOML file per language, named by its tag."""
        self._folder = folder  # a file is read with its first sentence: all take 0.2 s of CPU
        self._sentences: dict[str, dict[str, Sentence]] = {}
        self.tags = tuple(sorted(file.stem for file in folder.glob("*.toml")))

    def choose(
        self, *tags: str | None, allowed: Iterable[str] = (), default: str | None = None
    ) -> str:
        """Return the first of a person's tags that we have, or one so near that they can read it.

        `allowed` are the languages of their organisation (empty: all of ours) and `default` is its
        own, for those who wish for none of them; at last English, or the first that is allowed.
        """
        ours = (_nearest(tag, self.tags) for tag in allowed)
        offered = tuple(dict.fromkeys(tag for tag in ours if tag)) or self.tags
        wishes = (_nearest(tag, offered) for tag in (*tags, default, ENGLISH) if tag)
        return next(filter(None, wishes), offered[0])

    def choose_for(self, user: User, organisation: Organisation | None) -> str:
        """Return the language of what a user gets: the one choice for mail, SMS and page."""
        if organisation is None:
            return self.choose(user.language)
        allowed, default = organisation.languages, organisation.language
        return self.choose(user.language, allowed=allowed, default=default)

    def translate(self, language: str, key: str, /, **values: object) -> str:
        """Return a sentence as plain text: `translate("de", "mail.automatic")`.

        Raises:
            RenderError: the language, the sentence or a value is missing.
        """
        try:
            return self._read(language)[key].fill(values)
        except KeyError as error:
            raise RenderError(f"{language}: {key} lacks {error.args[0]}") from error

    def error(self, language: str, key: str) -> str | None:
        """Return the translation of an error; `key` is its public id or its class's name.

        None if there is none: in English, and for errors whose text contains details.
        """
        if language == ENGLISH or language not in self.tags:
            return None
        sentence = self._read(language).get(f"errors.{key}")
        return sentence.text if sentence else None

    def sentences(self, language: str) -> dict[str, Sentence]:
        """Return all sentences of a language by key, for checks of completeness."""
        return dict(self._read(language))

    def _read(self, language: str) -> dict[str, Sentence]:
        found = self._sentences.get(language)
        if found is None:
            if language not in self.tags:
                raise KeyError("the language")
            found = self._sentences[language] = _read(self._folder / f"{language}.toml")
        return found


@lru_cache(maxsize=MAX_CACHED)
def _nearest(tag: str, offered: tuple[str, ...]) -> str | None:
    """Return the offered tag nearest to another by CLDR's language matching; None if none is near.

    Anything may be asked: what is no tag is near none.
    """
    if len(tag) > MAX_TAG_CHARACTERS:
        return None
    if tag in offered:
        return tag
    from langcodes import Language, closest_match, language_distance  # noqa: PLC0415 - 70 ms, at a first other tag

    with _asking:
        # langcodes keeps every tag it was ever asked for, and strangers send them.
        if _nearest.cache_info().misses % MISSES_UNTIL_FORGOTTEN == 0:
            Language._INSTANCES.clear()  # noqa: SLF001
            Language._PARSE_CACHE.clear()  # noqa: SLF001
            language_distance._DISTANCE_CACHE.clear()  # noqa: SLF001
        try:
            found, _ = closest_match(NORWEGIAN.sub("nb", tag, 1), offered, MAX_DISTANCE)
        except ValueError:
            return None
    return found if found in offered else None


_asking = Lock()


@cache
def _locale(language: str) -> Locale:
    from babel import Locale  # noqa: PLC0415 - loads CLDR's rules

    return Locale.parse(language, sep="-")


@cache
def _read(file: Path) -> dict[str, Sentence]:
    sections = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"{section}.{name}": Sentence(text) if isinstance(text, str) else Plural(text, file.stem)
        for section, sentences in sections.items()
        for name, text in sentences.items()
    }


def direction(language: str) -> str:
    """Return `rtl` for a language that is written from right to left, else `ltr`."""
    return _locale(language).text_direction


def isolate(language: str, name: str) -> str:
    """Return a name for a sentence; a foreign one turns no word or mark of a right-to-left one."""
    return f"{ISOLATE}{name}{END_ISOLATE}" if direction(language) == "rtl" else name


def gap(language: str) -> str:
    """Return what stands between two sentences: nothing where their stops are wide signs."""
    return "" if language in ("ja", "zh-Hans", "zh-Hant") else " "


def join(language: str, items: Iterable[str]) -> str:
    """Return items as a part of a sentence: `a, b und c`."""
    from babel.lists import format_list  # noqa: PLC0415

    return format_list(list(items), locale=_locale(language))


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
    from babel.dates import format_date, format_time, get_timezone  # noqa: PLC0415

    local, locale = at.astimezone(get_timezone(time_zone)), _locale(language)
    day = format_date(local, "full", locale=locale)
    # "aaaa": the short names of Korean's halves of the day are AM and PM; Greek has no long ones
    half = "aaaa" if "pm" in locale.day_periods["format"]["wide"] else "a"
    spelling = str(locale.time_formats["short"].pattern).replace("a", half)
    clock = format_time(local, spelling, tzinfo=local.tzinfo, locale=locale)
    pattern = str(locale.datetime_formats["medium"])
    spelled = pattern.replace("{1}", day).replace("{0}", f"{clock} {_zone(local, locale)}")
    # Babel joins "4:05 PM" by a narrow blank, which many mail fonts lack.
    return spelled.replace("\u202f", "\u00a0")


@lru_cache(maxsize=MAX_CACHED)
def _format_clock(language: str, at: datetime, time_zone: str) -> str:
    from babel.dates import get_timezone  # noqa: PLC0415

    local = at.astimezone(get_timezone(time_zone))
    return f"{local:%H:%M} {_zone(local, _locale(language))}"


def _zone(local: datetime, locale: Locale) -> str:
    """Return the zone's short name in the language if there is one, else `UTC+5:45`."""
    from babel.dates import format_time  # noqa: PLC0415

    minutes = round((local.utcoffset() or local - local).total_seconds() / 60)
    name = format_time(local, "z", tzinfo=local.tzinfo, locale=locale) if minutes else "UTC"
    if name.isascii() and name.isalpha() and len(name) <= MAX_ZONE_CHARACTERS:
        return name
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")
