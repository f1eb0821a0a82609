"""Record and read the resets of a batch, a hundred at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.models import Channel, Status
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.resets import NewReset, ResetStore
from shared.store.scripts import Scripts

KNOWN = "known"
MAX_PER_TRIP = 25  # records of one pipeline: some two milliseconds of Redis


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user who may get a reset of a batch."""

    user_id: str
    reset_id: str
    since_ms: int


class BatchResets:
    """Asks about, records and reads resets of a batch; each method takes few round trips."""

    def __init__(self, client: Client, digests: Digests, resets: ResetStore) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._resets = client, digests, resets
        self._scripts = Scripts(client)

    def reset_id(self, user_id: str, batch_id: str) -> str:
        """Return the id of a batch's reset for a user: always the same."""
        return self._digests.derived_reset_id(user_id, "batch", batch_id)

    def standings(self, candidates: Sequence[Candidate], channel: Channel) -> list[str]:
        """Return for each `known`, why a batch skips the user, or an empty text."""
        calls = []
        for each in candidates:
            tag, user = self._digests.user_place(each.user_id)
            names = (keys.reset(each.reset_id), keys.user(tag, user))
            calls.append((names, (each.reset_id, tag, channel.value, each.since_ms)))
        answers: list[str] = self._scripts.run_many("batch/check_candidate", calls)
        return answers

    def record(self, news: Sequence[NewReset]) -> list[str]:
        """Record resets; return for each an empty text, or why it was skipped."""
        calls = [self._resets.record_call(new) for new in news]
        answers = []
        for first in range(0, len(calls), MAX_PER_TRIP):  # Redis serves others in between
            answers += self._scripts.run_many("reset/record", calls[first : first + MAX_PER_TRIP])
        return [answer[1] if answer[0] == "skipped" else "" for answer in answers]

    def refresh(self, reset_id: str, lifetime_seconds: float) -> bool:
        """Begin a reset's lifetime anew; return False if an attempt was made already."""
        names, arguments = (keys.reset(reset_id),), (int(lifetime_seconds * 1000),)
        return bool(self._scripts.run("batch/renew_reset", names, arguments))

    def ends(self, reset_ids: Sequence[str]) -> list[tuple[Status, str] | None]:
        """Return status and reason of each reset; None for those that are not kept."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for reset_id in reset_ids:
                pipeline.hmget(keys.reset(reset_id), "st", "rs")
            found = pipeline.execute()
        return [(Status(status), reason or "") if status else None for status, reason in found]
