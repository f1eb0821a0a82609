"""Importing users: every line is checked before the first user is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Protocol

from shared.directories.import_lines import Facts, read_line
from shared.directories.passwords import HASHES_AT_ONCE
from shared.errors import DirectoryUnavailableError, ImportLineError

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
