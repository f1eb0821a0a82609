"""Store how organisations send: a field of the organisation's hash, its secrets sealed.

Recording a reset reads that hash, so it knows without a further trip what an organisation carries
itself.
"""

from __future__ import annotations

from dataclasses import replace

from shared.errors import VersionConflictError
from shared.organisations.sender import Sender, parse_sender, write_sender
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts


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
            self._client.incr(keys.VERSION)  # web processes keep organisations for a moment

    def seal(self, org_id: str, secret: str) -> str:
        """Return a secret as it is stored."""
        return self._digests.seal(f"sender {org_id}", secret)

    def unseal(self, org_id: str, sealed: str) -> str:
        """Return a secret that `seal` returned for this organisation."""
        return self._digests.unseal(f"sender {org_id}", sealed)
