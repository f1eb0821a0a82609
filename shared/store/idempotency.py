"""Store what a caller's Idempotency-Key is bound to."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import IdempotencyMismatchError
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts

LIFETIME_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request under a caller's key; `meaning` is equal for equal requests."""

    caller_id: str
    key: str
    meaning: str


class IdempotencyStore:
    """Bind keys to requests, and remember since when.

    The id of a reset is derived from the request and that time, so concurrent calls with one key
    all record the same reset.
    """

    def __init__(self, client: Client, digests: Digests, durability: str = "memory") -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        # A failover must not forget the key of a reset that stands, on another node or written by
        # another connection: its repetition would be a new request. A file forgets in order.
        is_of_one = durability == "disk" and getattr(client, "has_one_node", True)
        self._scripts = Scripts(client, "memory" if is_of_one else durability)

    def find(self, request: KeyedRequest) -> str | None:
        """Return since when the key is bound to this request; None if it is free. Write nothing.

        Raises:
            IdempotencyMismatchError: it is bound to another request.
        """
        with store_errors():
            mark, since = self._client.hmget(self._key(request), "mark", "since")
        if mark is not None and mark != self._mark(request):
            raise IdempotencyMismatchError
        return since if isinstance(since, str) else None

    def begin(self, request: KeyedRequest) -> str:
        """Bind the key to this request for 24 hours; return since when it is.

        Raises:
            IdempotencyMismatchError: it is bound to another request.
            StoreUnavailableError: Redis did not answer, or did not confirm it.
        """
        arguments = (self._mark(request), LIFETIME_SECONDS * 1000)
        since: str = self._scripts.run_durably(
            "reset/begin_idempotent", (self._key(request),), arguments
        )
        if not since:
            raise IdempotencyMismatchError
        return since

    def give_up(self, request: KeyedRequest, since: str) -> None:
        """Free the key, because no reset was recorded; unless another call still uses it."""
        self._scripts.run("reset/give_up_idempotent", (self._key(request),), (since,))

    def _mark(self, request: KeyedRequest) -> str:
        return self._digests.digest("request", request.meaning)

    def digest(self, request: KeyedRequest) -> str:
        """Return what the key is stored under."""
        return self._digests.digest("idempotency", f"{request.caller_id}\0{request.key}")

    def _key(self, request: KeyedRequest) -> str:
        return keys.idempotency(self.digest(request))
