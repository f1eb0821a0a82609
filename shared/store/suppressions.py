"""Store reasons never to write to a recipient; keyed by digest, so no address is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.models import Recipient
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.validation import address_key, moment

MAX_PER_TRIP = 100

LIFTED_SECONDS = 30 * 86400  # longer than providers report late, and than records last


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why a recipient is suppressed, since when, and by what source."""

    reason: str  # bounce, complaint, opt_out, bad_number, or an operator's word
    source: str  # a provider's name, or who did it by hand
    since: datetime


class SuppressionStore:
    """Add, find and lift suppressions."""

    def __init__(self, client: Client, digests: Digests) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)

    def digest(self, recipient: Recipient) -> str:
        """Return the digest of a recipient."""
        address = address_key(recipient.address)
        return self._digests.digest("recipient", f"{recipient.channel}:{address}")

    def find(self, recipient: Recipient) -> Suppression | None:
        """Return the suppression, or None if the recipient may be written to."""
        with store_errors():
            found = self._client.hgetall(keys.suppression(self.digest(recipient)))
        return _parse(found) if found else None

    def are_suppressed(self, recipients: Sequence[Recipient]) -> list[bool]:
        """Return for each whether it is suppressed; one round trip."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for recipient in recipients:
                pipeline.exists(keys.suppression(self.digest(recipient)))
            return [bool(found) for found in pipeline.execute()]

    def find_many(self, recipients: Sequence[Recipient]) -> list[Suppression | None]:
        """Return what `find` returns for each; few round trips as long as none is suppressed."""
        found: list[Suppression | None] = []
        for first in range(0, len(recipients), MAX_PER_TRIP):
            some = recipients[first : first + MAX_PER_TRIP]
            names = [keys.suppression(self.digest(recipient)) for recipient in some]
            with store_errors():
                number = self._client.exists(*names)
            found += [self.find(each) if number else None for each in some]
        return found

    def list_all(self) -> Iterator[tuple[str, Suppression]]:
        """Yield every suppression with the digest of its recipient, in no order."""
        prefix = keys.suppression("")
        with store_errors():
            for key in self._client.scan_iter(match=f"{prefix}*", count=1000):
                found = self._client.hgetall(key)
                if found:  # else lifted meanwhile
                    digest = key.removeprefix(prefix)
                    # Those of former releases stand in no index.
                    self._client.zadd(keys.SUPPRESSIONS, {digest: found["since"]}, nx=True)
                    yield digest, _parse(found)

    def page(self, first: int, most: int) -> tuple[list[tuple[str, Suppression]], int]:
        """Return suppressions with their digests, newest first, and how many there are."""
        with store_errors():
            digests = self._client.zrevrange(keys.SUPPRESSIONS, first, first + most - 1)
            pipeline = self._client.pipeline(transaction=False)
            for digest in digests:
                pipeline.hgetall(keys.suppression(digest))
            pipeline.zcard(keys.SUPPRESSIONS)
            *found, total = pipeline.execute()
        return [(d, _parse(h)) for d, h in zip(digests, found, strict=True) if h], int(total)

    def add(self, recipient: Recipient, *, reason: str, source: str) -> None:
        """Suppress a recipient; an existing reason stays."""
        self.add_digest(self.digest(recipient), reason=reason, source=source)

    def add_digest(
        self, recipient_digest: str, *, reason: str, source: str, at_ms: int = 0
    ) -> bool:
        """Suppress a recipient by its digest; return True if it is new.

        `at_ms`: when it happened; ignored if the suppression was lifted since. 0: now.
        """
        own = (keys.suppression(recipient_digest), keys.lifted(recipient_digest))
        arguments = (reason, source, at_ms, recipient_digest)
        names = (*own, keys.SUPPRESSIONS)
        return bool(self._scripts.run("admin/suppress", names, arguments))

    def add_by_hand(self, recipient: Recipient, *, by: str, reason: str) -> bool:
        """Suppress a recipient for an operator; return False if it was suppressed."""
        digest, now_ms = self.digest(recipient), self._now_ms()
        key = keys.suppression(digest)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hsetnx(key, "reason", reason)
            pipeline.hsetnx(key, "source", f"operator {by}")
            pipeline.hsetnx(key, "since", now_ms)
            pipeline.zadd(keys.SUPPRESSIONS, {digest: now_ms}, nx=True)
            return bool(pipeline.execute()[0])

    def lift(self, recipient: Recipient) -> bool:
        """Lift a suppression; return False if there was none."""
        return self.lift_digest(self.digest(recipient))

    def lift_digest(self, digest: str) -> bool:
        """Lift a suppression by its recipient's digest; return False if there was none."""
        with store_errors():
            if not self._client.exists(keys.suppression(digest)):
                return False
            pipeline = self._client.pipeline(transaction=True)
            pipeline.delete(keys.suppression(digest))
            pipeline.zrem(keys.SUPPRESSIONS, digest)
            pipeline.set(keys.lifted(digest), self._now_ms(), ex=LIFTED_SECONDS)
            return bool(pipeline.execute()[0])

    def _now_ms(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)


def _parse(found: Mapping[str, str]) -> Suppression:
    return Suppression(found["reason"], found["source"], moment(found["since"]))
