"""Store how organisations send: a field of the organisation's hash, its secrets sealed.

Recording a reset reads that hash, so it knows without a further trip what an organisation carries
itself.
"""

from __future__ import annotations

from dataclasses import replace

from shared.errors import VersionConflictError
from shared.organisations.sender import IN_USE, Sender, parse_sender, write_sender
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts

MAX_LISTED = 1000


class SenderStore:
    """Read and change senders. Every method may raise StoreUnavailableError."""

    def __init__(self, client: Client, digests: Digests, durability: str = "memory") -> None:
        """`client` may be a fake one as long as `durability` is `memory`."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, durability)

    def find(self, org_id: str) -> Sender:
        """Return an organisation's sender; an empty one if it sends as the installation does."""
        with store_errors():
            text, version = self._client.hmget(
                keys.organisation(org_id), ["sender", "senderVersion"]
            )
        return parse_sender(text) if text else Sender(int(version or 0), {})

    def save(self, org_id: str, sender: Sender | None, *, version: int) -> None:
        """Replace a sender that has this version; None removes it.

        Raises:
            VersionConflictError: it has another one by now.
        """
        self._digests.check()
        text = write_sender(replace(sender, version=version + 1)) if sender else ""
        key = keys.organisation(org_id)
        if not self._scripts.run_durably("organisation/save_sender", (key,), (version, text)):
            raise VersionConflictError
        with store_errors():
            change = self._client.sadd if sender else self._client.srem
            change(keys.SENDERS, org_id)
            self._client.incr(keys.VERSION)  # web processes keep organisations for a moment

    def unverified(self) -> list[str]:
        """Return the organisations whose From is not used as long as it is not verified."""
        with store_errors():
            org_ids = sorted(self._client.smembers(keys.SENDERS))[:MAX_LISTED]
            pipe = self._client.pipeline(transaction=False)
            for org_id in org_ids:
                pipe.hget(keys.organisation(org_id), "sender")
            found = zip(org_ids, pipe.execute(), strict=True)
        froms = ((org_id, parse_sender(text).from_) for org_id, text in found if text)
        return [org_id for org_id, from_ in froms if from_ and from_.state not in IN_USE]

    def seal(self, org_id: str, secret: str) -> str:
        """Return a secret as it is stored."""
        return self._digests.seal(f"sender {org_id}", secret)

    def unseal(self, org_id: str, sealed: str) -> str:
        """Return a secret that `seal` returned for this organisation."""
        return self._digests.unseal(f"sender {org_id}", sealed)
