"""Estimate how soon a password is guessed by an attacker who knows the user.

Source: docs/decisions/0022-which-passwords-are-refused.md
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from zxcvbn_rs_py import zxcvbn

from shared.validation import MAX_PASSWORD_CHARACTERS

# zxcvbn's limit between "very guessable" and "somewhat guessable". Of a thousand random
# passwords of eight characters two fall below it.
MIN_GUESSES_LOG10 = 6.0
# The library's time grows with the square of the length while it holds the interpreter's lock: 24
# characters full of substitutions (@ for a) take it up to 50 ms, 100 of them a second.
MAX_LOOKED_AT_CHARACTERS = 24
MIN_WORD_CHARACTERS, MAX_WORD_CHARACTERS = 3, 40
SUBSTITUTES = str.maketrans("@4831!0$5+7", "aabeiiosstt")
WITHOUT_ACCENT = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})
YEAR = re.compile(r"1[0-9]{3}|20[0-9]{2}")
KNOWN = "¤"  # stands for a known word or a year
BETWEEN_KNOWN = re.compile(rf"(?<={KNOWN})[\W_]+(?={KNOWN})")
REPEATED = re.compile(rf"([!-@{KNOWN}])\1+(?![^\W\d_])")  # but not the zeros of "c00kie"
# "Berlin12!" is one word with what people put around one to please a policy.
AROUND_WORD = re.compile(r"^[\W\d_]+|[\W\d_]+$")
MAX_AROUND_WORD_CHARACTERS = 4
AROUND_WORD_GUESSES_LOG10 = 2.0


def is_guessable(password: str, own_words: Iterable[str] = ()) -> bool:
    """Return True if a password is common, or is made of known words and little more.

    `own_words` are names and addresses that an attacker may know.
    """
    piece = password[: (password * 2).find(password, 1)]  # of "abcabc", "abc"
    folded = _fold(piece)[:MAX_PASSWORD_CHARACTERS]
    shortened = _replace_known(folded, _split(own_words) | _common_words())
    core = AROUND_WORD.sub("", shortened)
    is_core_most = bool(core) and len(shortened) - len(core) <= MAX_AROUND_WORD_CHARACTERS
    return (
        _is_below(folded, MIN_GUESSES_LOG10)
        or _is_below(shortened, MIN_GUESSES_LOG10)
        or (is_core_most and _is_below(core, MIN_GUESSES_LOG10 - AROUND_WORD_GUESSES_LOG10))
    )


def _is_below(text: str, guesses_log10: float) -> bool:
    """Return True if both the beginning and the end of a text need fewer guesses."""
    ends = dict.fromkeys((text[:MAX_LOOKED_AT_CHARACTERS], text[-MAX_LOOKED_AT_CHARACTERS:]))
    return all(zxcvbn(end).guesses_log10 < guesses_log10 for end in ends)


def _replace_known(text: str, words: frozenset[str]) -> str:
    spellings = (text, text.translate(SUBSTITUTES))
    shortened, place = "", 0
    while place < len(text):
        end = max(_end_of_known(each, place, words) for each in spellings)
        shortened += KNOWN if end else text[place]
        place = end or place + 1
    return REPEATED.sub(r"\1", BETWEEN_KNOWN.sub("", shortened))


def _end_of_known(text: str, place: int, words: frozenset[str]) -> int:
    """Return where the longest word or year ends that begins at `place`; 0 if none does."""
    last = min(len(text), place + MAX_WORD_CHARACTERS)
    for end in range(last, place + MIN_WORD_CHARACTERS - 1, -1):
        if text[place:end] in words:
            return end
    return place + 4 if YEAR.match(text, place) else 0


def _split(texts: Iterable[str]) -> frozenset[str]:
    """Return the words of texts, and each text as one word."""
    pieces = (re.split(r"[\W_]+", _fold(text)) for text in texts)
    words = {word for words in pieces for word in (*words, "".join(words))}
    return frozenset(word for word in words if len(word) >= MIN_WORD_CHARACTERS)


def _fold(text: str) -> str:
    """Return the text in small letters without accents."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in apart if not unicodedata.combining(char))
    return bare.translate(WITHOUT_ACCENT)


@cache
def _common_words() -> frozenset[str]:
    lines = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
