"""The provider without an account: writes each message to a file, which /dev/inbox shows.

It obeys simulated recipients, so that every outcome can be watched without a provider. By mail the
part before the @ counts (a tag behind a plus sign is ignored); the domain does not:

    delivered@  +15005550005   taken, as anybody else's
    bounces@    +15005550001   refused for good, and suppressed from then on
    refused@    +15005550002   refused for good
    fails-twice@ +15005550003  two transient failures for each reset, then taken
    times-out@  +15005550004   taken, but the answer is lost: doubt

`bounces` is told at once and not, as real providers do, by a later event: the outbox sends none.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import orjson

from shared.errors import DoubtfulProviderError, PermanentProviderError, TransientProviderError
from shared.gsm7 import segments
from shared.models import Channel, Email, Message, Receipt, Sms
from shared.providers.message_checks import (
    checked_address,
    checked_number,
    one_line,
    own_headers,
    sound_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAGIC_NUMBERS = {
    "+15005550001": "bounces",
    "+15005550002": "refused",
    "+15005550003": "fails-twice",
    "+15005550004": "times-out",
    "+15005550005": "delivered",
}
FAILURES = 2  # of `fails-twice`
MAX_KEPT = 1000
PRUNE_EVERY = 25  # messages; listing a thousand names costs more than writing one file
LITTER_SECONDS = 86400.0  # what a killed process left, or a reset nobody tries any more


class Outbox:
    """One channel of the outbox. Any number of threads and processes may share the directory."""

    name = "outbox"

    def __init__(
        self, channel: Channel, data_dir: Path, *, clock: Callable[[], float] = time
    ) -> None:
        """`clock` gives epoch seconds."""
        self.channel = channel
        self._directory = data_dir / "outbox"
        self._clock = clock
        self._written = 0

    def send(self, message: Message) -> Receipt:
        """See Provider."""
        wish = _wish(message)
        if wish in ("bounces", "refused"):
            raise _refusal(wish, message)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if wish == "fails-twice":
                self._fail_at_first(message.reset_id)
            receipt = Receipt(self._write(message))
        except OSError as error:
            raise TransientProviderError(
                "outbox_unwritable", "the data directory cannot be written; nothing was kept"
            ) from error
        if wish == "times-out":
            raise DoubtfulProviderError(
                "answer_timeout", "simulated: taken, and the answer was lost", is_one_route=True
            )
        return receipt

    def close(self) -> None:
        """Nothing is held open."""

    def _write(self, message: Message) -> str:
        now = self._clock()
        content = orjson.dumps(self._entry(message, now), option=orjson.OPT_INDENT_2)
        draft = self._directory / f".{uuid4().hex}.tmp"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        name = _publish(draft, f"{int(now * 1000):013}-{quote(message.reset_id, safe='')}")
        if self._written % PRUNE_EVERY == 0:
            _prune(self._directory, keep=MAX_KEPT - PRUNE_EVERY, older_than=now - LITTER_SECONDS)
        self._written += 1
        return name

    def _entry(self, message: Message, now: float) -> dict[str, Any]:
        entry = {
            "channel": self.channel.value,
            "resetId": message.reset_id,
            "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            "to": message.recipient.address,
            "provider": self.name,
        }
        return entry | (
            _email_facts(message) if isinstance(message, Email) else _sms_facts(message)
        )

    def _fail_at_first(self, reset_id: str) -> None:
        """Raise for the first two attempts of a reset, whichever processes make them."""
        for number in range(1, FAILURES + 1):
            mark = self._directory / f".failed-{number}-{quote(reset_id, safe='')}"
            try:
                mark.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                continue
            raise TransientProviderError(
                "http_503", f"simulated failure {number} of {FAILURES}", is_one_route=True
            )


def read_outbox(data_dir: Path, *, most: int = 100) -> list[dict[str, Any]]:
    """The last messages of all channels, newest first."""
    names = _names(data_dir / "outbox")[-most:] if most > 0 else []
    entries = (_read(data_dir / "outbox" / name) for name in reversed(names))
    return [entry for entry in entries if entry is not None]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None  # pruned meanwhile
    return entry


def _names(directory: Path) -> list[str]:
    """Names of messages, oldest first: they begin with the moment."""
    try:
        return sorted(path.name for path in directory.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


def _publish(draft: Path, stem: str) -> str:
    """Give a finished file its name; a second message of the same millisecond gets the next."""
    number = 1
    while True:
        name = f"{stem}-{number}"
        try:
            draft.with_name(f"{name}.json").hardlink_to(draft)
        except FileExistsError:
            number += 1
            continue
        draft.unlink()
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


def _email_facts(email: Email) -> dict[str, Any]:
    sender = f"{one_line(email.from_name)} <{email.from_address}>".lstrip()
    return {
        "language": email.language,
        "subject": one_line(email.subject),
        "text": sound_text(email.text),
        "html": sound_text(email.html),
        "headers": {"From": sender, **own_headers(email)},
    }


def _sms_facts(sms: Sms) -> dict[str, Any]:
    body = sound_text(sms.body)
    count, encoding = segments(body)
    return {
        "body": body,
        "segments": count,
        "encoding": encoding,
        "callbackUrl": sms.callback_url,
        "validitySeconds": sms.validity_seconds,
    }


def _wish(message: Message) -> str:
    """Which outcome the recipient simulates; any word that is none means delivered."""
    if isinstance(message, Email):
        return checked_address(message).rpartition("@")[0].partition("+")[0].lower()
    return MAGIC_NUMBERS.get(checked_number(message), "delivered")


def _refusal(wish: str, message: Message) -> PermanentProviderError:
    if wish == "refused":
        return PermanentProviderError("refused", "simulated: the provider refused the message")
    suppression = "bounce" if isinstance(message, Email) else "bad_number"
    return PermanentProviderError(
        "bounced", "simulated: there is nobody at that address", suppression=suppression
    )
