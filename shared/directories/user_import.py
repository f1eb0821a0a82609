"""Importing users: every line is checked before the first user is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Protocol, TypeAlias

from shared import validation
from shared.directories.passwords import HASHES_AT_ONCE
from shared.errors import DirectoryUnavailableError, ImportLineError
from shared.models import UserKind, UserState

LINE_BYTES = 65_536
NAME_CHARACTERS = 200
PASSWORD_CHARACTERS = 200

# Field → its value as the directory stores it. Only fields that were given are there; an empty
# text says that there is none.
Facts: TypeAlias = dict[str, str]


def read_line(raw: str | bytes) -> Facts | None:
    """The facts of one line, None when it is blank.

    Raises:
        ValueError: what is wrong, without repeating an address or a password.
    """
    text = _as_text(raw)
    if not text.strip():
        return None
    facts = {name: _read_field(name, value) for name, value in _parse_object(text).items()}
    for name in ("userId", "orgId"):
        if name not in facts:
            raise ValueError(f"{name} is missing")
    return facts


def _as_text(raw: str | bytes) -> str:
    if len(raw) > LINE_BYTES:
        raise ValueError("a line has at most 64 KiB")
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the caller's data, not ours
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("names a field twice")
    return dict(pairs)


def _read_field(name: str, value: Any) -> str:
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(f"unknown field {_shown(name)}; known are {', '.join(_READERS)}")
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _shown(name: str) -> str:
    """A field's name as it may be shown: somebody may have written an address in its place."""
    return name if len(name) <= 40 and name.isidentifier() else "(not a name)"  # noqa: PLR2004


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the caller's data, not ours
    if not _is_encodable(value) or "\0" in value:
        raise ValueError("holds a character that cannot be stored")
    return value


def _is_encodable(value: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def _name(value: Any) -> str:
    name = _text(value)
    if len(name) > NAME_CHARACTERS:
        raise ValueError(f"has at most {NAME_CHARACTERS} characters")
    return name


def _password(value: Any) -> str:
    password = _text(value)
    if not 1 <= len(password) <= PASSWORD_CHARACTERS:
        raise ValueError(f"has 1 to {PASSWORD_CHARACTERS} characters; leave it out to keep it")
    return password


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller's data, not ours
    return "1" if value else ""


def _word(words: type[UserState | UserKind]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in [word.value for word in words]:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def _checked_by(reader: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: reader(_text(value))


def _optional(reader: Callable[[Any], str]) -> Callable[[Any], str]:
    """`null` and the empty text both say that there is none."""
    return lambda value: "" if value is None or value == "" else reader(value)


_READERS: dict[str, Callable[[Any], str]] = {
    "userId": _checked_by(validation.identity),
    "orgId": _checked_by(validation.identity),
    "userName": _optional(_name),
    "displayName": _optional(_name),
    "language": _optional(_checked_by(validation.language)),
    "email": _optional(_checked_by(validation.email)),
    "emailVerified": _flag,
    "phone": _optional(_checked_by(validation.phone)),
    "phoneVerified": _flag,
    "state": _word(UserState),
    "kind": _word(UserKind),
    "password": _password,
}

USERS_PER_WRITE = 1000
SPOOL_BYTES_IN_MEMORY = 16 * 1024 * 1024
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did; `imported` users are new."""

    imported: int
    updated: int

    def __add__(self, other: ImportReport) -> ImportReport:
        return ImportReport(self.imported + other.imported, self.updated + other.updated)


class UserStore(Protocol):
    """Where the users go: the built-in directory."""

    def organisation_exists(self, org_id: str) -> bool:
        """True when there is such an organisation."""

    def load_facts(self, user_ids: Sequence[str]) -> list[Facts]:
        """What is stored of each user; empty for those who are new."""

    def save_facts(self, changes: Iterable[tuple[Facts, Facts]]) -> None:
        """Write users, each given as it was and as it is to be."""

    def hash_password(self, password: str) -> str:
        """The hash of a password."""


def import_users(store: UserStore, lines: Iterable[str | bytes]) -> ImportReport:
    """Add or update users from JSON Lines: all of them, or none when any line is bad.

    The checked lines wait in a nameless temporary file, so memory does not grow with the file.
    Passwords are hashed while writing, for that takes most of the time.

    Raises:
        ImportLineError: the first bad line, and what is wrong with it.
        DirectoryUnavailableError: the server failed; importing the same file again is safe.
    """
    with SpooledTemporaryFile(SPOOL_BYTES_IN_MEMORY, "w+", encoding="utf-8") as spool:
        for facts in _checked(store, lines):
            spool.write(json.dumps(facts) + "\n")
        spool.seek(0)
        return _write_all(store, spool)


def _checked(store: UserStore, lines: Iterable[str | bytes]) -> Iterator[Facts]:
    known_organisations: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            facts = read_line(_without_mark(line) if number == 1 else line)
        except ValueError as error:
            raise ImportLineError(number, str(error)) from None  # its cause may hold an address
        if facts is None:
            continue
        if facts["orgId"] not in known_organisations:
            _refuse_unknown_organisation(store, number, facts["orgId"])
            known_organisations.add(facts["orgId"])
        yield facts


def _refuse_unknown_organisation(store: UserStore, number: int, org_id: str) -> None:
    if store.organisation_exists(org_id):
        return
    shown = "" if "@" in org_id or org_id.startswith("+") else f" {org_id}"  # columns get mixed up
    problem = f"the organisation{shown} does not exist; add it with `keyturn org add`"
    raise ImportLineError(number, problem)


def _without_mark(line: str | bytes) -> str | bytes:
    if isinstance(line, bytes):
        return line.removeprefix(BYTE_ORDER_MARK.encode())
    return line.removeprefix(BYTE_ORDER_MARK)


def _write_all(store: UserStore, spool: IO[str]) -> ImportReport:
    report = ImportReport(imported=0, updated=0)
    try:
        with ThreadPoolExecutor(HASHES_AT_ONCE) as hashers:
            while batch := [json.loads(line) for line in islice(spool, USERS_PER_WRITE)]:
                report += _write(store, batch, hashers)
    except DirectoryUnavailableError as error:
        written = report.imported + report.updated
        raise DirectoryUnavailableError(
            f"the server failed after {written} users were written; "
            "import the same file again, that is safe"
        ) from error
    return report


def _write(store: UserStore, batch: list[Facts], hashers: ThreadPoolExecutor) -> ImportReport:
    user_ids = list({facts["userId"]: None for facts in batch})
    present = dict(zip(user_ids, store.load_facts(user_ids), strict=True))
    changes, imported = [], 0
    for facts in _with_hashes(store, batch, hashers):
        old = present[facts["userId"]]
        imported += not old.get("orgId")
        new = merge(old, facts)
        changes.append((old, new))
        present[facts["userId"]] = new
    store.save_facts(changes)
    return ImportReport(imported, len(batch) - imported)


def _with_hashes(
    store: UserStore, batch: list[Facts], hashers: ThreadPoolExecutor
) -> Iterator[Facts]:
    passwords = [facts["password"] for facts in batch if "password" in facts]
    hashes = hashers.map(store.hash_password, passwords)
    for facts in batch:
        yield facts | {"password": next(hashes)} if "password" in facts else facts


def merge(old: Facts, given: Facts) -> Facts:
    """What is known after an update: given fields replace, absent ones stay.

    A changed address is unverified unless the update says otherwise: the flag belonged to the
    address that is gone.
    """
    new = old | given
    for address, flag in (("email", "emailVerified"), ("phone", "phoneVerified")):
        if new.get(address, "") != old.get(address, "") and flag not in given:
            new[flag] = ""
    if "password" in given and old.get("changeRequired"):
        new["changeRequired"] = ""
    return new
