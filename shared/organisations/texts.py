"""Check the sentences by which an organisation replaces built-in ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import unescape
from itertools import chain

from shared.codes import CODE_CHARACTERS, LINK_CHARACTERS, Code
from shared.errors import ProfileError
from shared.gsm7 import GSM_7, is_gsm7, segments
from shared.languages import ENGLISH, Languages, Sentence, format_clock_time
from shared.links import short_link
from shared.messages.samples import SAMPLE_ID
from shared.settings import Settings
from shared.validation import nearest

SECTIONS = ("mail", "reset", "notice", "sms", "page")
# What a sentence may hold beside what the built-in one holds; `until` is the moment, or the time.
FIELDS: dict[str, tuple[str, ...]] = {
    "mail": ("organisation",),
    "reset": ("organisation", "code", "link", "moment", "until"),
    "notice": ("organisation", "moment"),
    "sms.reset": ("organisation", "code", "link", "time", "until"),
    "sms.notice": ("organisation", "time"),
    "page": ("organisation",),
}
NEEDED = {"sms.reset": ("code", "link")}
MAX_CHARACTERS = {"subject": 150, "button": 60, "submit": 60}
MAX_OTHER_CHARACTERS = 1000
MAX_REPEATS = 3  # of a field: a link a hundred times is a mail that Gmail cuts
MAX_SHOWN_CHARACTERS = 20  # of a tag that is none
# They would turn what follows in a line, end a subject's line, or hide words.
UNFIT_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
# Invisible, yet part of how words are written, joined and cut: hyphen, joiners, marks of direction.
FIT = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060")
FIELD = re.compile(r"\{([^{}]*)\}")
MARKUP = re.compile(r"[<>]|&#?\w+;")
SCRIPT = re.compile(r"\b(javascript|vbscript)\s*:", re.IGNORECASE)
# Telephones find links and codes by what is around them.
GLUED = re.compile(r"[A-Za-z0-9}]\{(?:code|link)\}|\{link\}(?=\S)|\{code\}(?=[A-Za-z0-9])")


def replaceable(languages: Languages) -> dict[str, Sentence]:
    """Return the English sentences that an organisation may replace, by key."""
    english = languages.sentences(ENGLISH)
    return {key: each for key, each in english.items() if key.partition(".")[0] in SECTIONS}


def check_language(tag: str, languages: Languages) -> str:
    """Return a supported language.

    Raises:
        ValueError: there are no sentences in it.
    """
    if tag not in languages.tags:
        shown = tag if tag.isprintable() and len(tag) <= MAX_SHOWN_CHARACTERS else "it"
        raise ValueError(f"{shown} is not supported; the nearest is {languages.choose(tag)}")
    return tag


def check_texts(
    sentences: Mapping[str, str],
    language: str,
    *,
    organisation: str,
    languages: Languages,
    settings: Settings,
) -> None:
    """Raise an error unless all sentences may be used; `organisation` is its name.

    Raises:
        ProfileError: it names each sentence that may not, and why.
    """
    known = replaceable(languages)
    problems = []
    for key, text in sentences.items():
        if key not in known:
            problems.append(f"{key[:60]}: there is no such sentence; {_near(key, [*known])}")
            continue
        found = next(chain(_problems(key, text), _field_problems(key, text, known[key])), None)
        if found is None and key.startswith("sms."):
            found = _judge_sms(key, text, language, organisation, languages, settings)
        if found:
            problems.append(f"{key}: {found}")
    if problems:
        raise ProfileError("; ".join(problems))


def _near(name: str, known: list[str]) -> str:
    return f"the nearest is {nearest(name, known)}"


def _problems(key: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the words of a sentence."""
    if key.startswith("sms."):
        text = text.replace("\n", " ")  # a link may have a line of its own
    most = MAX_CHARACTERS.get(key.partition(".")[2], MAX_OTHER_CHARACTERS)
    if not any(unicodedata.category(sign)[0] not in "CZ" for sign in text):
        yield "it is empty; leave it out, and the built-in sentence is used"
    if len(text.splitlines()) > 1 or text.endswith(("\n", "\r")):
        yield "it must be one line"
    if len(text) > most:
        yield f"it has {len(text)} characters, and may have {most}"
    for sign in text:
        if unicodedata.category(sign) in UNFIT_CATEGORIES and sign not in FIT:
            yield f"it holds a control character (U+{ord(sign):04X})"
    for found in MARKUP.findall(text):
        if found in "<>" or unescape(found) != found:
            yield f"it holds markup ({found}); write plain text"
    if SCRIPT.search(text):
        yield "it holds javascript:"


def _field_problems(key: str, text: str, built_in: Sentence) -> Iterator[str]:
    """Yield what is wrong with the fields of a sentence."""
    if {"{", "}"} & set(FIELD.sub("", text)):
        yield "a brace has no partner; fields are written {code}"
    of_section = FIELDS.get(key.partition(".")[0], ())
    fields = sorted({*FIELDS.get(key, of_section), *built_in.names})
    for field in FIELD.findall(text):
        if field not in fields:
            known = ", ".join(f"{{{each}}}" for each in fields) or "none"
            yield f"there is no field {{{field[:40]}}} here; there are: {known}"
        if text.count(f"{{{field}}}") > MAX_REPEATS:
            yield f"it holds {{{field}}} more than {MAX_REPEATS} times"
    for field in NEEDED.get(key, ()):
        if f"{{{field}}}" not in text:
            yield f"it must hold {{{field}}}"
    if key == "sms.reset" and (glued := GLUED.search(text)):
        yield f"a blank must stand around {glued[0]!r}, or it cannot be copied"


def _judge_sms(
    key: str, text: str, language: str, organisation: str, languages: Languages, settings: Settings
) -> str | None:
    """Return what is wrong with the length of an SMS, filled with the longest values."""
    code = Code("W" * CODE_CHARACTERS, "W" * LINK_CHARACTERS)
    year = datetime.now(UTC).year
    times = [
        format_clock_time(language, datetime(year, month, 1, tzinfo=UTC), settings.time_zone)
        for month in (1, 7)
    ]
    values: dict[str, object] = {
        "organisation": organisation,
        "code": code.formatted,
        "link": short_link(settings.link_base, reset_id=SAMPLE_ID, code=code),
        "time": max(times, key=len),
    }
    values["until"] = values["time"]
    filled = Sentence(text).fill(values)
    number, encoding = segments(filled)
    built_in = segments(languages.translate(language, key, **values))[0]
    most = settings.sms_max_segments or built_in
    if number <= most:
        return None
    why = ""
    if encoding != GSM_7:
        sign = next(sign for sign in filled if not is_gsm7(sign))
        why = f", {encoding} because of {sign!r}"
    return (
        f"it takes {number} segments ({len(filled)} characters{why}){_cost(number, settings)}; "
        f"{most} may be used"
    )


def _cost(number: int, settings: Settings) -> str:
    """Return what an SMS costs where prices are set: `, 0.14 to 0.16 EUR each`."""
    prices = [price * number for _, price in settings.sms_prices]
    if not prices:
        return ""
    least, most = (f"{price:.4f}".rstrip("0").rstrip(".") for price in (min(prices), max(prices)))
    return f", {least if least == most else f'{least} to {most}'} {settings.sms_currency} each"
