"""Erase what the store holds of a user or a recipient; how much it costs depends on that alone.

Source: docs/decisions/0031-leaving.md
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from shared.errors import ErasingError
from shared.models import Recipient
from shared.store import keys
from shared.store.connection import Client, nodes_of, store_errors
from shared.store.digests import Digests
from shared.store.limits import CHANGES, PAGE_LIMITS_OF_A_USER
from shared.store.scripts import Scripts

LEASE_SECONDS = 60
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: how much of each kind, of which resets, which went to which recipients."""

    counts: Counter[str]
    reset_ids: frozenset[str]
    recipient_digests: frozenset[str]


class ErasureStore:
    """Erases; every method may be repeated, and raises StoreUnavailableError."""

    def __init__(self, client: Client, digests: Digests) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)

    @contextmanager
    def turn(self, *about: str) -> Iterator[None]:
        """Keep all others from erasing the same at the same time; a killed one, for a minute.

        Raises:
            ErasingError: it is being erased just now.
        """
        name = keys.erasing(self._digests.digest("erasing", "\0".join(about)))
        token = secrets.token_hex(8)
        with store_errors():
            if not self._client.set(name, token, nx=True, ex=LEASE_SECONDS):
                raise ErasingError
        try:
            yield
        finally:
            with store_errors():
                if self._client.get(name) == token:
                    self._client.delete(name)

    def erase_user(self, user_id: str) -> Erased:
        """Erase a user's resets, codes, notices, webhooks, refusals, guesses and limits."""
        erased = self._erase(user_id)
        _, user = self._digests.user_place(user_id)
        with store_errors():
            callers = self._client.smembers(keys.tried(user))
            names = [keys.window(name, user) for name in PAGE_LIMITS_OF_A_USER]
            names += [keys.window("passwords", f"{by}:{user}") for by in callers]
            erased.counts["limits"] = self._delete([*names, keys.tried(user)])
        return erased

    def erase_recipient(self, user_id: str, recipient: Recipient, digest: str) -> Erased:
        """Erase what was sent to a recipient, or waits for its channel, of one user."""
        return self._erase(user_id, digest, recipient.channel)

    def _erase(self, user_id: str, recipient_digest: str = "", channel: str = "") -> Erased:
        tag, user = self._digests.user_place(user_id)
        places = (keys.user, keys.older, keys.requests, keys.refusals)
        names = [place(tag, user) for place in (*places, keys.guesses, keys.told)]
        names += [keys.receipts(tag), keys.counters(tag)]
        arguments = (tag, user, recipient_digest, channel)
        found: dict[str, Any] = orjson.loads(self._scripts.run("admin/erase", names, arguments))
        counts, reset_ids = Counter(found["n"]), frozenset(found["ids"])
        with store_errors():
            bound = [keys.idempotency(each) for each in found["ik"]]
            counts["idempotencyKeys"] = self._delete(bound)
            self._delete([keys.counted(each) for each in reset_ids])
        return Erased(counts, reset_ids, frozenset(found["to"]))

    def erase_caller(self, token_id: str) -> int:
        """Erase the windows in which a caller's calls are counted; return how many."""
        about = (token_id, CHANGES + token_id)
        with store_errors():
            return self._delete(
                [keys.window(kind, each) for kind in ("caller", "passwords") for each in about]
            )

    def erase_suppression(
        self, recipient_digest: str, *, with_suppression: bool
    ) -> tuple[int, int]:
        """Erase when a suppression was lifted, and it itself if asked; return how many of each.

        Erase too that an SMS to the recipient was counted.
        """
        name = keys.suppression(recipient_digest)
        with store_errors():
            lifted = self._delete([keys.lifted(recipient_digest)])
            self._delete([keys.sms_mark(recipient_digest)])
            number = self._delete([name]) if with_suppression else self._client.exists(name)
            if with_suppression:
                index = keys.suppressions(keys.tag_of_digest(recipient_digest))
                self._client.zrem(index, recipient_digest)
        return lifted, int(number)

    def _delete(self, names: Iterable[str]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.delete(name)
        return sum(pipeline.execute())

    def rewrite_files(self, *, wait_seconds: float) -> str:
        """Ask every node to write its append-only file anew; return the worst of what came of it.

        `off`: it has none; `refused`: a managed server does so by itself; `done`; `under way`.
        """
        until = time.monotonic() + wait_seconds
        with store_errors():
            came = {_rewrite_file(node, until) for node in nodes_of(self._client)}
        return next(each for each in ("refused", "under way", "done", "off") if each in came)


def _rewrite_file(node: Client, until: float) -> str:
    with suppress(redis.ResponseError):
        node.execute_command("SLOWLOG RESET")  # it may hold arguments
    try:
        if not int(_persistence(node, "aof_enabled")):
            return "off"
        node.execute_command("BGREWRITEAOF")
        under_way = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        while any(int(_persistence(node, name)) for name in under_way):
            if time.monotonic() > until:
                return "under way"
            time.sleep(POLL_SECONDS)
    except redis.ResponseError:
        return "refused"
    return "done"


def _persistence(node: Client, name: str) -> Any:
    return node.info("persistence").get(name, 0)
