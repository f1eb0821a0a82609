"""Read a file of users, a line each, piece by piece; the error names the first bad line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from shared import validation
from shared.errors import SelectionError
from shared.store.batches.lists import ListEntry

MAX_LINES = 1_000_000
MAX_LINE_BYTES = 2048
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_entries(pieces: Iterable[bytes]) -> Iterator[ListEntry]:
    """Yield the users of a file: an id a line, bare or as JSON (`"ada"`, `{"userId":"ada"}`).

    Raises:
        SelectionError: a line holds no id; the text names its number, not its content.
    """
    for number, line in enumerate(_lines(pieces), start=1):
        if number > MAX_LINES:
            raise SelectionError(f"a batch has at most {MAX_LINES:,} lines")
        try:
            user_id = _read_line(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
        except ValueError as error:
            raise SelectionError(f"line {number}: {error}; nothing was started") from None
        if user_id is not None:
            yield ListEntry(user_id)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            yield rest  # too long already: _read_line refuses it
            return
    if rest:
        yield rest


def _read_line(line: bytes) -> str | None:
    """Return the user's id; None if the line is blank."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a line has at most {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if not text:
        return None
    found = _read_json(text) if text[0] in '{"[' else text
    try:
        return validation.identity(found)
    except ValueError as error:
        raise ValueError(f"userId {error}") from None


def _read_json(text: str) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None
    user_id = value.get("userId") if isinstance(value, dict) else value
    if not isinstance(user_id, str):
        raise ValueError("must be a userId, or an object with one")  # noqa: TRY004 - the caller's data
    return user_id
