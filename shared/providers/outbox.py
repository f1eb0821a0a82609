"""The provider for development: write each message to a file, which /dev/inbox shows.

Magic recipients simulate every outcome, and what a provider reports later: SIMULATED, which
`keyturn provider recipients` prints. For e-mail the part before the @ counts (a tag behind a plus
sign is ignored), not the domain.
"""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from glob import escape as glob_escape
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import orjson

from shared.errors import DoubtfulProviderError, PermanentProviderError, TransientProviderError
from shared.gsm7 import segments
from shared.models import CallbackEvent, Channel, Email, EventType, Message, Receipt, Sms
from shared.providers.message_checks import (
    checked_address,
    checked_number,
    clean_text,
    message_headers,
    one_line,
    sendable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# By name: number, what, reports with after, type, reason, suppression.
SIMULATED: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("simulated.toml").read_text(encoding="utf-8")
)
RETRY_AFTER_SECONDS = 5.0  # of `rate-limited`
FAILURES = 2  # of `fails-twice`
MAX_FILES = 1000
SMS_SUPPRESSIONS = {"complaint": "opt_out", "bounce": "bad_number"}
REPORTS = "reports"  # the folder of what is reported later
PRUNE_EVERY = 25  # messages; listing a thousand names costs more than writing one file
STALE_SECONDS = 86400.0  # of a temporary file that a killed process or an old reset left


class Outbox:
    """One channel of the outbox. Any number of threads and processes may share the directory."""

    name = "outbox"

    def __init__(
        self,
        channel: Channel,
        data_dir: Path,
        *,
        max_files: int = MAX_FILES,
        keep_seconds: float = 0,
        clock: Callable[[], float] = time,
    ) -> None:
        """`keep_seconds` 0: only their number counts; `clock` gives epoch seconds."""
        self.channel, self._max_files, self._keep_seconds = channel, max_files, keep_seconds
        self._directory = data_dir / "outbox"
        self._clock = clock
        self._written = 0

    def send(self, message: Message) -> Receipt:
        """See Provider."""
        outcome = _simulated_outcome(message)
        if outcome in ("bounces", "refused"):
            raise _refusal(outcome, message)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if outcome == "fails-twice":
                self._fail_at_first(message.reset_id)
            if outcome == "rate-limited":
                self._limit_at_first(message.reset_id)
            receipt = Receipt(self._write(message))
            self._write_reports(message.reset_id, receipt, outcome)
        except OSError as error:
            raise TransientProviderError(
                "outbox_unwritable", "the data directory cannot be written; nothing was kept"
            ) from error
        if outcome == "times-out":
            raise DoubtfulProviderError(
                "answer_timeout", "simulated: taken, and the answer was lost", is_one_route=True
            )
        return receipt

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _write(self, message: Message) -> str:
        now = self._clock()
        content = orjson.dumps(self._entry(message, now), option=orjson.OPT_INDENT_2)
        temporary = self._directory / f".{uuid4().hex}.tmp"
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as file:
            file.write(content)
        name = _publish(temporary, f"{int(now * 1000):013}-{quote(message.reset_id, safe='')}")
        if self._written % PRUNE_EVERY == 0:
            keep = max(1, self._max_files - PRUNE_EVERY)
            _prune(self._directory, keep=keep, older_than=now - STALE_SECONDS)
            if self._keep_seconds:
                prune_outbox(self._directory.parent, before=now - self._keep_seconds)
        self._written += 1
        return name

    def _entry(self, message: Message, now: float) -> dict[str, Any]:
        entry = {
            "channel": self.channel.value,
            "resetId": message.reset_id,
            "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            "to": checked_address(message)
            if isinstance(message, Email)
            else checked_number(message),
            "provider": self.name,
        }
        return entry | (
            _email_fields(message) if isinstance(message, Email) else _sms_fields(message)
        )

    def _fail_at_first(self, reset_id: str) -> None:
        """Raise for the first two attempts of a reset, whichever processes make them."""
        for number in range(1, FAILURES + 1):
            if self._is_first(number, reset_id):
                raise TransientProviderError(
                    "http_503", f"simulated failure {number} of {FAILURES}", is_one_route=True
                )

    def _limit_at_first(self, reset_id: str) -> None:
        if self._is_first(1, reset_id):
            raise TransientProviderError(
                "http_429",
                "simulated: too many requests",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                is_one_route=True,
            )

    def _is_first(self, number: int, reset_id: str) -> bool:
        """Return True once for a number and a reset."""
        mark = self._directory / f".failed-{number}-{quote(reset_id, safe='')}"
        try:
            mark.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _write_reports(self, reset_id: str, receipt: Receipt, outcome: str) -> None:
        """Leave a file for each report; a worker takes it when it is due."""
        directory = self._directory / REPORTS
        for each in SIMULATED.get(outcome, {}).get("reports", ()):
            directory.mkdir(mode=0o700, exist_ok=True)
            suppression = each.get("suppression", "")
            if self.channel is Channel.SMS:
                suppression = SMS_SUPPRESSIONS.get(suppression, "")
            at_ms, event_id = int((self._clock() + each["after"]) * 1000), uuid4().hex
            event = {
                "reset_id": reset_id,
                "event_id": event_id,
                "type": each["type"],
                "at_ms": at_ms,
                "message_id": receipt.provider_message_id,
                "reason": each.get("reason", ""),
                "detail": "simulated",
                "suppression": suppression,
            }
            temporary = directory / f".{event_id}"
            temporary.write_bytes(orjson.dumps(event))
            temporary.rename(directory / f"{at_ms:013}-{event_id}.json")


def due_reports(data_dir: Path, now: float) -> Iterator[tuple[Path, CallbackEvent]]:
    """Yield the reports that are due, each with its file, which the caller deletes."""
    for name in _names(data_dir / "outbox" / REPORTS):
        if int(name.partition("-")[0]) > now * 1000:
            return
        path = data_dir / "outbox" / REPORTS / name
        if fields := _read(path):
            kind = EventType(fields.pop("type"))
            yield path, CallbackEvent(provider=Outbox.name, type=kind, **fields)


def prune_outbox(data_dir: Path, *, before: float) -> None:
    """Delete the messages from before a moment in epoch seconds."""
    for name in _names(data_dir / "outbox"):
        if int(name.partition("-")[0]) / 1000 >= before:
            return
        (data_dir / "outbox" / name).unlink(missing_ok=True)


def erase_from_outbox(data_dir: Path, is_about: Callable[[dict[str, Any]], bool]) -> int:
    """Delete the messages that `is_about` accepts, and marks of their resets; return how many."""
    directory, number = data_dir / "outbox", 0
    for name in _names(directory):
        entry = _read(directory / name)
        if entry is not None and is_about(entry):
            (directory / name).unlink(missing_ok=True)
            for mark in directory.glob(
                f".failed-*-{glob_escape(quote(entry['resetId'], safe=''))}"
            ):
                mark.unlink(missing_ok=True)
            number += 1
    return number


def read_outbox(data_dir: Path, *, limit: int = 100) -> list[dict[str, Any]]:
    """Return the last messages of all channels, newest first."""
    names = _names(data_dir / "outbox")[-limit:] if limit > 0 else []
    entries = (_read(data_dir / "outbox" / name) for name in reversed(names))
    return [entry for entry in entries if entry is not None]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None  # pruned meanwhile
    return entry


def _names(directory: Path) -> list[str]:
    """Return the names of message files, oldest first: they begin with the time."""
    try:
        return sorted(path.name for path in directory.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


def _publish(temporary: Path, stem: str) -> str:
    """Give a complete file its final name, numbered within the same millisecond; return it."""
    number = 1
    while True:
        name = f"{stem}-{number}"
        try:
            temporary.with_name(f"{name}.json").hardlink_to(temporary)
        except FileExistsError:
            number += 1
            continue
        temporary.unlink()
        return name


def _prune(directory: Path, *, keep: int, older_than: float) -> None:
    for name in _names(directory)[:-keep]:
        (directory / name).unlink(missing_ok=True)
    for path in directory.glob(".*"):
        try:
            if path.stat().st_mtime < older_than:
                path.unlink()
        except FileNotFoundError:
            continue  # another process was first


def _email_fields(email: Email) -> dict[str, Any]:
    sender = f"{one_line(email.from_name)} <{sendable(email.from_address)}>".lstrip()
    return {
        "language": email.language,
        "subject": one_line(email.subject),
        "text": clean_text(email.text),
        "html": clean_text(email.whole_html),
        "headers": {
            "From": sender,
            **({"Reply-To": sendable(email.reply_to)} if email.reply_to else {}),
            **message_headers(email),
        },
    }


def _sms_fields(sms: Sms) -> dict[str, Any]:
    body = clean_text(sms.body)
    count, encoding = segments(body)
    return {
        "body": body,
        "segments": count,
        "encoding": encoding,
        "callbackUrl": sms.callback_url,
        "validitySeconds": sms.validity_seconds,
    }


def _simulated_outcome(message: Message) -> str:
    """Return the outcome the recipient simulates; what is none of SIMULATED is accepted."""
    if isinstance(message, Email):
        return checked_address(message).rpartition("@")[0].partition("+")[0].lower()
    number = checked_number(message)
    return next((name for name, each in SIMULATED.items() if each["number"] == number), "")


def _refusal(outcome: str, message: Message) -> PermanentProviderError:
    if outcome == "refused":
        return PermanentProviderError("refused", "simulated: the provider refused the message")
    suppression = "bounce" if isinstance(message, Email) else "bad_number"
    return PermanentProviderError(
        "bounced", "simulated: there is nobody at that address", suppression=suppression
    )
