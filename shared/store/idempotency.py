"""What a caller's Idempotency-Key stands for."""

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
    """A request under a caller's key; `meaning` is equal for requests that ask for the same."""

    caller_id: str
    key: str
    meaning: str


class IdempotencyStore:
    """Remembers which request a key was used for, and since when.

    The id of a reset follows from the request and that moment, so of many who ask at once all
    record the same one, and none of them is the first.
    """

    def __init__(self, client: Client, digests: Digests) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)

    def find(self, request: KeyedRequest) -> str | None:
        """Since when the key stands for this request; None when it is free. Writes nothing.

        Raises:
            IdempotencyMismatchError: it stands for another request.
        """
        with store_errors():
            mark, since = self._client.hmget(self._place(request), "mark", "since")
        if mark is not None and mark != self._mark(request):
            raise IdempotencyMismatchError
        return since if isinstance(since, str) else None

    def begin(self, request: KeyedRequest) -> str:
        """Let the key stand for this request for 24 hours; gives since when it does.

        Raises:
            IdempotencyMismatchError: it stands for another request.
        """
        arguments = (self._mark(request), LIFETIME_SECONDS * 1000)
        since: str = self._scripts.run("idempotency_begin", (self._place(request),), arguments)
        if not since:
            raise IdempotencyMismatchError
        return since

    def give_up(self, request: KeyedRequest, since: str) -> None:
        """Nothing was recorded: the key is free again, unless somebody else still tries."""
        self._scripts.run("idempotency_give_up", (self._place(request),), (since,))

    def _mark(self, request: KeyedRequest) -> str:
        return self._digests.digest("request", request.meaning)

    def _place(self, request: KeyedRequest) -> str:
        who = f"{request.caller_id}\0{request.key}"
        return keys.idempotency(self._digests.digest("idempotency", who))
