"""Import users from JSON Lines: every line is checked before the first user is written."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from shared import validation
from shared.directories.passwords import HASHES_AT_ONCE
from shared.errors import DirectoryUnavailableError, ImportLineError
from shared.models import UserKind, UserState
from shared.passwords.policy import normalise_password

if TYPE_CHECKING:
    from shared.directories.redis import RedisDirectory

USERS_PER_WRITE = 1000
SPOOL_BYTES_IN_MEMORY = 16 * 1024 * 1024
BYTE_ORDER_MARK = "\ufeff"
LINE_BYTES = 65_536
NAME_CHARACTERS = 200
MAX_FORMER_EMAILS = 5  # the oldest: those of the time before the changes began
DEFAULTS = {"orgId": "", "state": UserState.ACTIVE.value, "kind": UserKind.HUMAN.value}

# Field → its value as the directory stores it. Only given fields are present; an empty text means
# that the user has none.
UserFields: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How many users an import added (`imported`) and updated; whose password it changed."""

    imported: int
    updated: int
    changed_passwords: tuple[str, ...] = ()  # ids of users who had another one before

    def __add__(self, other: ImportReport) -> ImportReport:
        return ImportReport(
            self.imported + other.imported,
            self.updated + other.updated,
            self.changed_passwords + other.changed_passwords,
        )


def import_users(directory: RedisDirectory, lines: Iterable[str | bytes]) -> ImportReport:
    """Add or update users from JSON Lines: all of them, or none when any line is bad.

    Checked lines are spooled to a temporary file, so memory does not grow with the input. Passwords
    are hashed while writing, because hashing takes most of the time.

    Raises:
        ImportLineError: the first bad line, and what is wrong with it.
        DirectoryUnavailableError: the server failed; importing the same file again is safe.
    """
    with SpooledTemporaryFile(SPOOL_BYTES_IN_MEMORY, "w+", encoding="utf-8") as spool:
        for fields in _parse_lines(directory, lines):
            spool.write(json.dumps(fields) + "\n")
        spool.seek(0)
        return _write_all(directory, spool)


def _parse_lines(directory: RedisDirectory, lines: Iterable[str | bytes]) -> Iterator[UserFields]:
    known_organisations: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            fields = parse_line(_without_mark(line) if number == 1 else line)
        except ValueError as error:
            raise ImportLineError(number, str(error)) from None  # its cause may hold an address
        if fields is None:
            continue
        if fields["orgId"] not in known_organisations:
            _refuse_unknown_organisation(directory, number, fields["orgId"])
            known_organisations.add(fields["orgId"])
        yield fields


def _refuse_unknown_organisation(directory: RedisDirectory, number: int, org_id: str) -> None:
    if directory.organisation_exists(org_id):
        return
    may_be_address = "@" in org_id or org_id.startswith("+")  # in the wrong column
    shown = "" if may_be_address else f" {org_id}"
    problem = f"the organisation{shown} does not exist; add it with `keyturn org add`"
    raise ImportLineError(number, problem)


def _without_mark(line: str | bytes) -> str | bytes:
    if isinstance(line, bytes):
        return line.removeprefix(BYTE_ORDER_MARK.encode())
    return line.removeprefix(BYTE_ORDER_MARK)


def _write_all(directory: RedisDirectory, spool: IO[str]) -> ImportReport:
    report = ImportReport(imported=0, updated=0)
    try:
        with ThreadPoolExecutor(HASHES_AT_ONCE) as hashers:
            while batch := [json.loads(line) for line in islice(spool, USERS_PER_WRITE)]:
                report += _write(directory, batch, hashers)
    except DirectoryUnavailableError as error:
        written = report.imported + report.updated
        raise DirectoryUnavailableError(
            f"the server failed after {written} users were written; "
            "import the same file again, that is safe"
        ) from error
    return report


def _write(
    directory: RedisDirectory, batch: list[UserFields], hashers: ThreadPoolExecutor
) -> ImportReport:
    user_ids = list({fields["userId"]: None for fields in batch})
    present = dict(zip(user_ids, directory.load_fields(user_ids), strict=True))
    given = [
        (each["userId"], present[each["userId"]]["password"], each["password"])
        for each in batch
        if "password" in each and present[each["userId"]].get("password")
    ]
    are_same = hashers.map(lambda one: directory.is_password(one[1], one[2]), given)
    changed_ids = (one[0] for one, is_same in zip(given, are_same, strict=True) if not is_same)
    changed_passwords = tuple(dict.fromkeys(changed_ids))
    changes, imported = [], 0
    for fields in _with_hashes(directory, batch, hashers):
        old = present[fields["userId"]]
        imported += not old.get("orgId")
        changed = merge_fields(old, fields, keep_seconds=directory.keep_former_seconds)
        changes.append((old, changed))
        present[fields["userId"]] = old | changed
    directory.save_fields(changes)
    return ImportReport(imported, len(batch) - imported, changed_passwords)


def _with_hashes(
    directory: RedisDirectory, batch: list[UserFields], hashers: ThreadPoolExecutor
) -> Iterator[UserFields]:
    passwords = [fields["password"] for fields in batch if "password" in fields]
    hashes = hashers.map(directory.hash_password, passwords)
    for fields in batch:
        yield fields | {"password": next(hashes)} if "password" in fields else fields


def merge_fields(old: UserFields, given: UserFields, *, keep_seconds: float = 0) -> UserFields:
    """Return the fields that an update writes: the given ones, and what follows from them.

    A changed address is unverified unless the update has the flag, which belonged to the former
    address. A former e-mail address is kept for so many seconds; a change of case is none.
    """
    new = dict(given)
    for name in ("email", "phone"):
        flag = f"{name}Verified"
        before, now = (validation.address_key(each.get(name, "")) for each in (old, old | given))
        if before != now and flag not in given:
            new[flag] = ""
        if before != now or old.get(flag, "") != new.get(flag, old.get(flag, "")):
            new[f"{name}Revision"] = new_revision()
        if name == "email" and before and before != now:
            new["formerEmails"] = _former_emails(old, keep_seconds)
    if "password" in given and old.get("changeRequired"):
        new["changeRequired"] = ""
    if "password" in given or any(
        (old.get(name) or default) != (new.get(name) or old.get(name) or default)
        for name, default in DEFAULTS.items()
    ):
        new["revision"] = new_revision()
    return new


def _former_emails(old: UserFields, keep_seconds: float) -> str:
    now_ms = int(time.time() * 1000)
    kept = [each for each in json.loads(old.get("formerEmails") or "[]")
            if each[0] > now_ms - keep_seconds * 1000]  # fmt: skip
    kept.append([now_ms, int(bool(old.get("emailVerified"))), old["email"]])
    return json.dumps(kept[:MAX_FORMER_EMAILS])


def new_revision() -> str:
    """Return what no user or address had as its revision before."""
    return secrets.token_hex(8)


def parse_line(raw: str | bytes) -> UserFields | None:
    """Parse and check one line; return None if it is blank.

    Raises:
        ValueError: what is wrong, without repeating an address or a password.
    """
    text = _as_text(raw)
    if not text.strip():
        return None
    return read_fields(_parse_object(text))


def read_fields(given: Mapping[str, Any]) -> UserFields:
    """Check the fields of one user, as a line of an import has them.

    Raises:
        ValueError: as parse_line.
    """
    fields = {name: _parse_field(name, value) for name, value in given.items()}
    for name in ("userId", "orgId"):
        if name not in fields:
            raise ValueError(f"{name} is missing")
    return fields


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


def _parse_field(name: str, value: Any) -> str:
    parse = _PARSERS.get(name)
    if parse is None:
        raise ValueError(f"unknown field {_shown(name)}; known are {', '.join(_PARSERS)}")
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _shown(name: str) -> str:
    """Return a field's name for an error text, unless it may be an address in the wrong place."""
    return name if len(name) <= 40 and name.isidentifier() else "(not a name)"  # noqa: PLR2004


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the caller's data, not ours
    if not _is_encodable(value) or "\0" in value:
        raise ValueError("holds a character that cannot be stored")
    return value


def _is_encodable(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _name(value: Any) -> str:
    name = _text(value)
    if len(name) > NAME_CHARACTERS:
        raise ValueError(f"has at most {NAME_CHARACTERS} characters")
    return name


def _password(value: Any) -> str:
    password = normalise_password(_text(value))
    if not 1 <= len(password) <= validation.MAX_PASSWORD_CHARACTERS:
        most = validation.MAX_PASSWORD_CHARACTERS
        raise ValueError(f"has 1 to {most} characters; leave it out to keep it")
    return password


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller's data, not ours
    return "1" if value else ""


def _enum_value(enum: type[UserState | UserKind]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in [member.value for member in enum]:
            raise ValueError(f"must be one of {', '.join(enum)}")
        return str(value)

    return read


def _text_of(parse: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: parse(_text(value))


def _optional(parse: Callable[[Any], str]) -> Callable[[Any], str]:
    """Accept `null` and the empty text as "none"."""
    return lambda value: "" if value is None or value == "" else parse(value)


_PARSERS: dict[str, Callable[[Any], str]] = {
    "userId": _text_of(validation.identity),
    "orgId": _text_of(validation.identity),
    "userName": _optional(_name),
    "displayName": _optional(_name),
    "language": _optional(_text_of(validation.language)),
    "email": _optional(_text_of(validation.email)),
    "emailVerified": _flag,
    "phone": _optional(_text_of(validation.phone)),
    "phoneVerified": _flag,
    "state": _enum_value(UserState),
    "kind": _enum_value(UserKind),
    "password": _password,
}
