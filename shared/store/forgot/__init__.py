"""Keep what people typed who forgot their password, sealed, until a worker has looked it up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson
from cryptography.fernet import InvalidToken

from shared.errors import CaptchaError, StoreUnavailableError, TooManyRequestsError
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Argument, Scripts
from shared.validation import address_key, comparable

SEAL_KIND = "forgot"
MAX_WAITING = 20_000
LEASE_SECONDS = 60.0  # more than the look-ups of one claim take
RETRY_SECONDS = 5.0  # while the directory is away
HOUR_SECONDS = 3600
SOURCE_FACTOR = 10  # one source, and all who type one identifier, may ask so much more than a user
NO_LIMIT = 1 << 52


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgotRequest:
    """What a person typed, and where."""

    identifiers: tuple[str, ...] = field(repr=False)  # the ways to read it; the likeliest first
    org_id: str  # empty: all organisations
    request_id: str


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """A request that a worker answers."""

    item: str = field(repr=False)
    asked: ForgotRequest | None  # None: it cannot be read
    is_late: bool  # as old as a code that has expired


class ForgotStore:
    """Keep, claim and remove requests."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, settings.durability)
        self._most = settings.page_limit_per_hour * SOURCE_FACTOR or NO_LIMIT
        self._lifetime_ms = settings.code_lifetime_seconds * 1000

    def ask(
        self, request: ForgotRequest, *, source: str, solution: str = "", solution_seconds: int = 0
    ) -> None:
        """Keep a request, in one step with its budgets; beyond that of its identifier, drop it.

        `solution`: what shows that a captcha was solved; it counts once in `solution_seconds`.

        Raises:
            TooManyRequestsError: the source has asked too often.
            CaptchaError: the solution was used before.
            StoreUnavailableError: nothing was kept, or it was not confirmed in time.
        """
        fields = [request.identifiers, request.org_id, request.request_id]
        sealed = self._digests.seal(SEAL_KIND, orjson.dumps(fields).decode())
        windows = {
            "forgot_source": self._digests.digest("source", source),
            "forgot_identifier": self._digests.address_digest(comparable(request.identifiers[0])),
            "forgot_captcha": self._digests.digest("captcha", solution),
        }
        arguments: list[Argument] = [sealed, MAX_WAITING, solution_seconds * 1000]
        for name in ("forgot_source", "forgot_identifier"):
            arguments += (name, self._most, HOUR_SECONDS * 1000, 1)
        names = (keys.FORGOT, *(keys.window(name, digest) for name, digest in windows.items()))
        answer = self._scripts.run_durably("forgot/ask", names, arguments)
        if answer[0] == "limited":
            seconds = max(1, -(-int(answer[2]) // 1000))
            raise TooManyRequestsError(answer[1], retry_after_seconds=seconds)
        if answer[0] == "used":
            raise CaptchaError
        if answer[0] == "full":
            raise StoreUnavailableError

    def claim(self, *, most: int) -> list[ClaimedRequest]:
        """Return requests that are due; they are due again after LEASE_SECONDS if not removed."""
        arguments = (most, int(LEASE_SECONDS * 1000))
        now_ms, *items = self._scripts.run("forgot/claim", (keys.FORGOT,), arguments)
        return [self._read(item, int(now_ms)) for item in items]

    def _read(self, item: str, now_ms: int) -> ClaimedRequest:
        at_ms, _, sealed = item.partition(":")
        try:
            identifiers, org_id, request_id = orjson.loads(self._digests.unseal(SEAL_KIND, sealed))
            asked = ForgotRequest(
                identifiers=tuple(identifiers), org_id=org_id, request_id=request_id
            )
            is_late = now_ms - int(at_ms) > self._lifetime_ms
        except (InvalidToken, ValueError, TypeError):
            return ClaimedRequest(item, None, is_late=False)
        return ClaimedRequest(item, asked, is_late=is_late)

    def erase(self, identifiers: Iterable[str]) -> int:
        """Erase requests with one of these identifiers, and their budgets; return how many."""
        wanted = {comparable(each) for each in identifiers}
        with store_errors():
            items = self._client.zrange(keys.FORGOT, 0, -1) if wanted else []
            asked = ((item, self._read(item, 0).asked) for item in items)
            found = [
                item
                for item, request in asked
                if request and wanted.intersection(map(address_key, request.identifiers))
            ]
            digests = map(self._digests.address_digest, wanted)
            pipeline = self._client.pipeline(transaction=False)
            for item in found:
                pipeline.zrem(keys.FORGOT, item)
            for digest in digests:
                pipeline.delete(keys.window("forgot_identifier", digest))
            return sum(pipeline.execute())

    def remove(self, item: str) -> None:
        """Remove a request that has been answered or cannot be."""
        with store_errors():
            self._client.zrem(keys.FORGOT, item)

    def retry_later(self, items: Sequence[str]) -> None:
        """Make requests due again soon, not at once."""
        wait_ms = int((RETRY_SECONDS - LEASE_SECONDS) * 1000)
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for item in items:
                pipeline.zadd(keys.FORGOT, {item: wait_ms}, xx=True, incr=True)
            pipeline.execute()

    def depth(self) -> int:
        """Return how many requests wait."""
        with store_errors():
            return int(self._client.zcard(keys.FORGOT))
