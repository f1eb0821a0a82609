"""Store the audit trail: who did what, from where, when and why, and how it ended.

Each entry names the one before by number, id and keyed digest; the head names the newest so, and
has a seal (docs/decisions/0021). An act that takes time has two: `begun` before it, and behind it
how it ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, islice
from threading import Lock

import orjson
import structlog

from shared.errors import (
    CallerError,
    DirectoryUnavailableError,
    ImportLineError,
    StoreUnavailableError,
)
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.tracing import bound
from shared.validation import moment

log = structlog.get_logger()

MAX_KEPT = 100_000  # of each stream
PER_TRIP = 500
LONGEST_ACT = timedelta(minutes=1)
TRIM_EVERY_SECONDS = 600.0
REDACTED = "(erased)"
TOLD = ("by", "target", "reason", "outcome", "source")  # fields that may name a person
BEGUN, DONE = "begun", "done"
# Acts of programs, thousands an hour: in a stream of their own they push out no operator's act.
FREQUENT = frozenset({"reset.return_code", "password.set"})
HEADS = {keys.AUDIT: keys.AUDIT_HEAD, keys.AUDIT_FREQUENT: keys.AUDIT_FREQUENT_HEAD}
# What may stand in an entry by mistake: an e-mail address, a phone number, a token.
PRIVATE = re.compile(
    r"[^\s@]+@[^\s@.]+\.[^\s@,;]+|\+[0-9][0-9 ()./-]{5,}[0-9]|\b(?:kt_pat_|eyJ)\S+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an operator or a caller changed."""

    by: str  # a user of this machine, or `token <id>`
    action: str  # `suppression.lift`, `provider.pause`, …
    target: str  # an id or a digest
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An act, and how it ended; entries of before the chain hold the act and its time alone."""

    at: datetime
    act: Act
    outcome: str | None = None  # begun, done, `refused: …`, `failed: …`
    source: str | None = None  # a network, or the login at a command
    request_id: str | None = None
    number: int | None = None
    previous: str | None = None  # number, id and digest of the entry before


@dataclass(frozen=True, slots=True)
class Verification:
    """How many entries fit, how many are older than the chain, and the first that does not fit."""

    fitting: int
    unchained: int
    misfit: str | None = None


class AuditStore:
    """Append to the trail, read and verify it; an entry is never changed but by `redact`."""

    def __init__(
        self,
        client: Client,
        digests: Digests,
        durability: str = "memory",
        *,
        max_kept: int = MAX_KEPT,
        keep_seconds: float = 0,
    ) -> None:
        """`client` may be a fake one as long as `durability` is `memory`.

        `keep_seconds` 0: entries are trimmed by their number alone.
        """
        self._client, self._digests = client, digests
        self._max_kept, self._keep_seconds = max_kept, keep_seconds
        self._trim_at = 0.0
        self._scripts = Scripts(client, durability)
        self._lock = Lock()
        self._heads = dict.fromkeys(HEADS, "")  # as this process last saw them

    @contextmanager
    def acting(self, act: Act) -> Iterator[dict[str, str]]:
        """Append `begun`, and after the body how it ended.

        The body may put `target` and `outcome` into the dict. An error of it is raised again.

        Raises:
            StoreUnavailableError: nothing was appended; the body did not run.
        """
        ending = {"of": self.record(act, outcome=BEGUN), "outcome": DONE}
        try:
            yield ending
        except BaseException as error:
            ending["outcome"] = _describe(error)
            raise
        finally:
            try:
                self._append(act.action, ending)
            except StoreUnavailableError:
                log.warning("store.unavailable", during="auditing")

    def record(self, act: Act, *, outcome: str = DONE) -> str:
        """Append an act whose end is known; return the id of its entry."""
        beside = {"source": bound("source") or "", "request": bound("request_id") or ""}
        return self._append(act.action, asdict(act) | beside | {"outcome": outcome})

    def _append(self, action: str, fields: dict[str, str]) -> str:
        stream = keys.AUDIT_FREQUENT if action in FREQUENT else keys.AUDIT
        for name in {"target", "reason", "outcome"} & fields.keys():
            fields[name] = PRIVATE.sub(lambda found: f"{found[0][0]}***", fields[name])
        is_appended = 0
        with self._lock:
            while not is_appended:  # another process appended, so this ends
                before = self._heads[stream]
                entry = fields | {"prev": self._without_seal(before)}
                number, digest = _number(before) + 1, self._digest(entry)
                seal = f"{digest} {self._seal(number, digest)}"
                arguments = (before, number, seal, self._max_kept)
                is_appended, head = self._scripts.run(
                    "admin/audit",
                    (stream, HEADS[stream]),
                    (*arguments, *chain.from_iterable(entry.items())),
                )
                self._heads[stream] = head
        self._scripts.confirm(keys.GATE)
        return str(head).split()[1]

    def newest(self, *, most: int = 100) -> list[AuditEntry]:
        """Return the last acts, newest first."""
        return list(islice(self.entries(), most))

    def entries(self, *, before: datetime | None = None) -> Iterator[AuditEntry]:
        """Yield every act, or those from before a moment, newest first."""
        acts = (self._acts(stream, before) for stream in HEADS)
        every = merge(*acts, key=lambda entry: entry.at, reverse=True)
        return (entry for entry in every if before is None or entry.at < before)

    def _acts(self, stream: str, before: datetime | None) -> Iterator[AuditEntry]:
        endings: dict[str, dict[str, str]] = {}
        start = str(_ms(before + LONGEST_ACT)) if before else "+"  # how it ended stands behind it
        for entry_id, fields in self._walk(stream, start=start, is_backward=True):
            if "of" in fields:
                endings[fields["of"]] = {n: fields[n] for n in ("target", "outcome") if n in fields}
                continue
            found = fields | endings.pop(entry_id, {})
            previous = found.get("prev")
            yield AuditEntry(
                at=moment(entry_id.partition("-")[0]),
                act=Act(**{name: found[name] for name in Act.__slots__}),
                outcome=found.get("outcome"),
                source=found.get("source") or None,
                request_id=found.get("request") or None,
                number=None if previous is None else _number(previous) + 1,
                previous=previous or None,
            )

    def verify(self) -> Verification:
        """Follow the chain of each stream, up to the first entry that does not fit."""
        fitting = unchained = 0
        for found in map(self._verify, HEADS):
            fitting, unchained = fitting + found.fitting, unchained + found.unchained
            if found.misfit:
                return Verification(fitting, unchained, found.misfit)
        return Verification(fitting, unchained)

    def _verify(self, stream: str) -> Verification:
        with store_errors():
            newest = self._client.get(HEADS[stream]) or ""
            is_trimmed = self._client.xlen(stream) >= self._max_kept
            now_seconds, _ = self._client.time()
        oldest_ms = (now_seconds - self._keep_seconds) * 1000 if self._keep_seconds else 0
        head, fitting, unchained, has_newest = "", 0, 0, not newest
        for entry_id, fields in self._walk(stream):
            before = fields.get("prev")
            if before is None and not fitting:
                unchained += 1
                continue
            may_begin = not fitting and (is_trimmed or 0 < _moment_ms(before or "") < oldest_ms)
            if before is None or (before != head and not may_begin):
                misfit = _name_misfit(head, before, entry_id)
                return Verification(fitting, unchained, misfit)
            fitting += 1
            number, digest = _number(before) + 1, self._digest_of(fields)
            head = f"{number} {entry_id} {digest}"
            has_newest = has_newest or f"{head} {self._seal(number, digest)}" == newest
        if has_newest and (newest or not fitting):
            return Verification(fitting, unchained)
        return Verification(fitting, unchained, _name_misfit(head, newest, "the end"))

    def trim(self) -> None:
        """Delete the entries whose time is over; a periodic job."""
        if not self._keep_seconds or time.monotonic() < self._trim_at:
            return
        self._trim_at = time.monotonic() + TRIM_EVERY_SECONDS
        with store_errors():
            seconds, _ = self._client.time()
            oldest_ms = int((seconds - self._keep_seconds) * 1000)
            for stream, head in HEADS.items():  # the newest stays: the head names it
                newest = self._client.get(head) or ""
                is_old = 0 < _moment_ms(newest) < oldest_ms
                first = newest.split()[1] if is_old else f"{oldest_ms}-0"
                self._client.xtrim(stream, minid=first, approximate=False)

    def find_about(self, marks: Collection[str]) -> list[AuditEntry]:
        """Return the entries that hold one of these words, newest first."""
        word = words(marks)
        return [entry for entry in self.entries() if word.search(entry_text(entry))]

    def redact(self, marks: Collection[str]) -> int:
        """Replace these words in every entry; return how many entries held one.

        A redacted entry keeps the digest that it was written with, under a seal of our own: the
        chain still shows every other change. Not to be run twice at once.
        """
        word, number = words(marks), 0
        for stream in HEADS:
            redacted: dict[str, list[str]] = {}
            for entry_id, fields in self._walk(stream):
                told = {n: word.sub(REDACTED, value) for n, value in fields.items() if n in TOLD}
                if fields != fields | told:
                    digest = self._digest_of(fields)
                    rest = {n: v for n, v in (fields | told).items() if n != "redacted"}
                    sealed = f"{digest} {self._redaction_seal(digest, rest)}"
                    entry = rest | {"redacted": sealed}
                    redacted[entry_id] = list(chain.from_iterable(entry.items()))
            if redacted:
                self._rewrite(stream, redacted)
            number += len(redacted)
        return number

    def _rewrite(self, stream: str, redacted: dict[str, list[str]]) -> None:
        """Replace a stream by a copy: what is deleted in place stays in the server's memory."""
        with store_errors():
            self._client.delete(keys.AUDIT_REWRITTEN)
        start = "-"
        while start:
            names = (stream, keys.AUDIT_REWRITTEN)
            arguments = (start, PER_TRIP, orjson.dumps(redacted).decode())
            start = str(self._scripts.run("admin/redact", names, arguments))

    def _digest_of(self, fields: dict[str, str]) -> str:
        """Return the digest an entry was written with; an empty text if its redaction is forged."""
        if "redacted" not in fields:
            return self._digest(fields)
        digest, _, seal = fields["redacted"].partition(" ")
        rest = {name: value for name, value in fields.items() if name != "redacted"}
        return digest if seal == self._redaction_seal(digest, rest) else ""

    def _redaction_seal(self, digest: str, rest: dict[str, str]) -> str:
        return self._digests.digest("audit redacted", f"{digest} {self._digest(rest)}")

    def _walk(
        self, stream: str, *, start: str = "-", is_backward: bool = False
    ) -> Iterator[tuple[str, dict[str, str]]]:
        read = self._client.xrevrange if is_backward else self._client.xrange
        while True:
            with store_errors():
                found = read(stream, start, count=PER_TRIP)
            if not found:
                return
            yield from found
            start = f"({found[-1][0]}"

    def _digest(self, fields: dict[str, str]) -> str:
        text = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
        return self._digests.digest("audit", text)

    def _seal(self, number: int, digest: str) -> str:
        """Return what a head ends with; no entry tells it, so none but the last can be the end."""
        return self._digests.digest("audit end", f"{number} {digest}")

    def _without_seal(self, head: str) -> str:
        """Return what an entry tells of the head before it: all of it if its seal is wrong."""
        told, _, seal = head.rpartition(" ")
        is_right = seal == self._seal(_number(told), told.rpartition(" ")[2])
        return told if is_right else head


def words(marks: Collection[str]) -> re.Pattern[str]:
    """Return a pattern of these texts where they stand as words of their own."""
    either = "|".join(map(re.escape, sorted(filter(None, marks), key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)" if either else r"(?!)", re.IGNORECASE)


def entry_text(entry: AuditEntry) -> str:
    """Return what an entry tells, on one line."""
    act = entry.act
    return " ".join((act.by, act.action, act.target, act.reason, entry.outcome or ""))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _number(head: str) -> int:
    """Return the number of the entry that a head names; 0 for none."""
    number = head.partition(" ")[0]
    return int(number) if number.isdecimal() else 0


def _moment_ms(head: str) -> int:
    """Return when the entry that a head names was written, in ms; 0 for none."""
    _, _, rest = head.partition(" ")
    written = rest.partition("-")[0]
    return int(written) if written.isdecimal() else 0


def _name_misfit(head: str, before: str | None, entry_id: str) -> str:
    """Name the first entry that does not fit: `head` was read, and `before` was to stand there."""
    if before is None:
        return f"{entry_id} does not belong to the chain"
    if head and _number(before) == _number(head):
        return f"{head.split()[1]} is not as it was written"
    return f"{entry_id} comes after entry {_number(head)} and not after {_number(before)}"


def _describe(error: BaseException) -> str:
    is_away = isinstance(error, StoreUnavailableError | DirectoryUnavailableError)
    is_refusal = isinstance(error, CallerError | ImportLineError) and not is_away
    return f"refused: {error}" if is_refusal else f"failed: {type(error).__name__}"
