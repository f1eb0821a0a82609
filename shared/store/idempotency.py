"""What a caller's Idempotency-Key stands for."""

from __future__ import annotations

from shared.errors import IdempotencyMismatchError
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests

LIFETIME_SECONDS = 24 * 3600
PENDING_SECONDS = 60  # a process that died between noting and recording blocks a key this long


class IdempotencyStore:
    """Remembers which request a key was used for; the reset's id follows from key and request.

    Because the id is derived, a repeated call records nothing twice even where this memory fails.
    """

    def __init__(self, client: Client, digests: Digests) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests

    def begin(self, caller_id: str, key: str, fingerprint: str) -> None:
        """Note the key for this request.

        Raises:
            IdempotencyMismatchError: it stands for another request.
        """
        place, mark = self._place(caller_id, key), self._digests.digest("request", fingerprint)
        with store_errors():
            if self._client.set(place, mark, nx=True, ex=PENDING_SECONDS):
                return
            known = self._client.get(place)
        if known is not None and known != mark:
            raise IdempotencyMismatchError

    def keep(self, caller_id: str, key: str, fingerprint: str) -> None:
        """Something was recorded: the key stands for it for 24 hours."""
        mark = self._digests.digest("request", fingerprint)
        with store_errors():
            self._client.set(self._place(caller_id, key), mark, ex=LIFETIME_SECONDS)

    def forget(self, caller_id: str, key: str) -> None:
        """Nothing was recorded: the key is free again."""
        with store_errors():
            self._client.delete(self._place(caller_id, key))

    def _place(self, caller_id: str, key: str) -> str:
        return keys.idempotency(self._digests.digest("idempotency", f"{caller_id}\0{key}"))
