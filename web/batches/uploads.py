"""Read a file of users, a line each, piece by piece; the error names the bad lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

import orjson

from shared import validation
from shared.errors import SelectionError
from shared.store.batches.lists import ListEntry

MAX_LINES = 1_000_000
MAX_LINE_BYTES = 2048
MAX_ERRORS = 50  # that are named
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_entries(
    pieces: Iterable[bytes], *, is_csv: bool = False, errors: list[str] | None = None
) -> Iterator[ListEntry]:
    """Yield the users of a file: an id a line, bare or as JSON (`"ada"`, `{"userId":"ada"}`).

    `is_csv`: the ids stand in the column `userId`, or in the only one. With `errors` the whole file
    is read, and what is wrong with its first bad lines is put there.

    Raises:
        SelectionError: a line holds no id; the text names its number, not its content.
    """
    read, bad = _CsvReader().read if is_csv else _read_line, 0
    for number, line in enumerate(_lines(pieces), start=1):
        if number > MAX_LINES:
            raise SelectionError(f"a batch has at most {MAX_LINES:,} lines")
        try:
            user_id = read(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
        except (ValueError, csv.Error) as error:
            if errors is None:
                raise SelectionError(f"line {number}: {error}; nothing was started") from None
            errors += [f"line {number:,}: {error}"] if len(errors) < MAX_ERRORS else []
            bad += 1
            continue
        if user_id is not None:
            yield ListEntry(user_id)
    if bad:
        raise SelectionError(f"{bad:,} of {number:,} lines cannot be read; nothing was started")


class _CsvReader:
    """Reads the ids of a CSV file, whose first line may name its columns."""

    def __init__(self) -> None:
        self._columns, self._place, self._separator = 0, 0, ","

    def read(self, line: bytes) -> str | None:
        """Return the user's id; None for the line that names columns, and a blank one."""
        text, is_first = _decode(line), not self._columns
        if not text:
            return None
        if is_first:
            self._separator = max(",;\t", key=text.count)
        row = next(csv.reader([text], delimiter=self._separator, strict=True))
        if is_first:
            names = [re.sub(r"[\W_]", "", name).lower() for name in row]
            self._columns = len(row)
            if "userid" in names:
                self._place = names.index("userid")
                return None
            if len(row) > 1:
                raise ValueError("names no column userId")
        if len(row) != self._columns:
            raise ValueError(f"has {len(row)} columns, not {self._columns}")
        return _check_id(row[self._place].strip())


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
    text = _decode(line)
    if not text:
        return None
    return _check_id(_read_json(text) if text[0] in '{"[' else text)


def _decode(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a line has at most {MAX_LINE_BYTES} bytes")
    try:
        return line.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


def _check_id(text: str) -> str:
    try:
        return validation.identity(text)
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
