"""Store reasons never to write to a recipient; keyed by digest, so no address is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from string import hexdigits

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
        for tag in keys.TAGS:
            with store_errors():
                digests = self._client.zrange(keys.suppressions(tag), 0, -1)
            for first in range(0, len(digests), MAX_PER_TRIP):
                yield from self._read(digests[first : first + MAX_PER_TRIP])

    def page(self, first: int, most: int) -> tuple[list[tuple[str, Suppression]], int]:
        """Return suppressions with their digests, newest first, and how many there are."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.zrevrange(keys.suppressions(tag), 0, first + most - 1, withscores=True)
                pipeline.zcard(keys.suppressions(tag))
            found = pipeline.execute()
        newest = sorted(chain(*found[::2]), key=lambda pair: -pair[1])[first : first + most]
        return self._read([digest for digest, _ in newest]), sum(found[1::2])

    def _read(self, digests: Sequence[str]) -> list[tuple[str, Suppression]]:
        """Return those that were not lifted meanwhile."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for digest in digests:
                pipeline.hgetall(keys.suppression(digest))
            found = zip(digests, pipeline.execute(), strict=True)
        return [(digest, _parse(fields)) for digest, fields in found if fields]

    def add(self, recipient: Recipient, *, reason: str, source: str) -> None:
        """Suppress a recipient; an existing reason stays."""
        self.add_digest(self.digest(recipient), reason=reason, source=source)

    def add_digest(
        self, recipient_digest: str, *, reason: str, source: str, at_ms: int = 0
    ) -> bool:
        """Suppress a recipient by its digest; return True if it is new.

        `at_ms`: when it happened; ignored if the suppression was lifted since. 0: now.
        """
        arguments = (reason, source, at_ms, recipient_digest)
        return bool(self._scripts.run("admin/suppress", _names(recipient_digest), arguments))

    def add_by_hand(self, recipient: Recipient, *, by: str, reason: str) -> bool:
        """Suppress a recipient for an operator; return False if it was suppressed."""
        return self.add_digest(self.digest(recipient), reason=reason, source=f"operator {by}")

    def lift(self, recipient: Recipient) -> bool:
        """Lift a suppression; return False if there was none."""
        return self.lift_digest(self.digest(recipient))

    def lift_digest(self, digest: str) -> bool:
        """Lift a suppression by its recipient's digest; return False if there was none."""
        if not set(digest) <= set(hexdigits):
            return False
        return bool(self._scripts.run("admin/lift", _names(digest), (LIFTED_SECONDS, digest)))


def _names(digest: str) -> tuple[str, str, str]:
    index = keys.suppressions(keys.tag_of_digest(digest))
    return keys.suppression(digest), keys.lifted(digest), index


def _parse(found: Mapping[str, str]) -> Suppression:
    return Suppression(found["reason"], found["source"], moment(found["since"]))
