"""What must not be found: addresses, numbers, codes, tokens, in every form they are written."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

# The alphabet of codes, and a code as a word of its own: in a text, a link or an address.
_SIGN = rb"[2-9A-HJ-NP-Za-hj-np-z]"
_CODE = re.compile(
    rb"(?<![0-9A-Za-z])(?:"
    + _SIGN
    + rb"{4}-?"
    + _SIGN
    + rb"{4}|"
    + _SIGN
    + rb"{20})(?![0-9A-Za-z])"
)
_NUMBER = re.compile(rb"(?<!\d)(?:0041|41|0)(7[789](?:[ .-]?\d){7})(?!\d)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_NOT_DIGITS = re.compile(rb"\D")


class Planted:
    """Everything of a run that nobody may read."""

    def __init__(
        self, *, domain: str, numbers: Iterable[str], codes: Iterable[str], words: Mapping[str, str]
    ) -> None:
        """`domain` stands in every planted mail address; `numbers` are E.164; `words`: by kind."""
        self._numbers = {number.removeprefix("+41").encode() for number in numbers}
        self._codes = {code.replace("-", "").encode() for code in codes}
        self._words = {word.encode().lower(): kind for kind, word in words.items()}
        self._words[f"@{domain}".encode()] = "address"
        self._words[f"%40{domain}".encode()] = "address"

    def find(self, content: bytes) -> Iterator[str]:
        """The kind of each planted thing in it, as it stands there or wrapped in base64."""
        yield from self._find_plain(content)
        for found in _BASE64.finditer(content):
            for unwrapped in _unwrap(found[0]):
                for kind in self._find_plain(unwrapped):
                    yield f"{kind} in base64"

    def _find_plain(self, content: bytes) -> Iterator[str]:
        lower = content.lower()
        for word, kind in self._words.items():
            yield from (kind for _ in range(lower.count(word)))
        for found in _NUMBER.finditer(content):
            if _NOT_DIGITS.sub(b"", found[1]) in self._numbers:
                yield "number"
        for found in _CODE.finditer(content):
            if found[0].replace(b"-", b"").upper() in self._codes:
                yield "code"


def _unwrap(text: bytes) -> Iterator[bytes]:
    """What the text says if it is base64; it may begin in the middle of another word."""
    standard = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    for start in range(4):
        part = standard[start:]
        try:
            yield base64.b64decode(part[: len(part) // 4 * 4])
        except binascii.Error:
            continue
