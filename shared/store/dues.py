"""What is due: the sweepers' and the operators' view of the due sets, and who sweeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.models import Channel, Queue
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.records import moment
from shared.store.scripts import Scripts

WORKER_SEEN_SECONDS = 5.0
MOST_IN_ONE_TRIP = 50  # resets of each shard


@dataclass(frozen=True, slots=True)
class DueView:
    """One queue over all shards."""

    due: int  # should be looked at now
    waiting: int  # all that are not final
    oldest_age_seconds: float  # how long the longest waiting has been due; 0 when none is
    resets: tuple[tuple[str, Channel], ...]  # some of those due, each shard's oldest first


class DueStore:
    """Reads the due sets."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def look(self, queue: Queue, *, grace_seconds: float = 0, most: int = 0) -> DueView:
        """What has been due for longer than the grace; `most` counts ids per shard."""
        grace_ms = int(grace_seconds * 1000)
        calls = [((keys.due(tag, queue),), (grace_ms, most, tag)) for tag in keys.TAGS]
        if most > MOST_IN_ONE_TRIP:  # others are served between shards
            answers = [self._scripts.run("due", *call) for call in calls]
        else:
            answers = self._scripts.run_many("due", calls)
        now = self.now_ms()
        oldest = min((float(a[2]) for a in answers if a[2] != ""), default=now)
        return DueView(
            sum(a[0] for a in answers),
            sum(a[1] for a in answers),
            max(0.0, (now - oldest) / 1000),
            tuple(
                (reset_id, Channel(channel))
                for a in answers
                for reset_id, channel in zip(a[3::2], a[4::2], strict=True)
            ),
        )

    def now_ms(self) -> float:
        """Redis's clock, the only one."""
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds / 1000)

    def now(self) -> datetime:
        """Redis's clock as a moment."""
        return moment(self.now_ms())

    def say_seen(self, worker: str) -> None:
        """A worker is there and sweeping."""
        self._scripts.run("seen", (keys.WORKERS,), (worker, int(WORKER_SEEN_SECONDS * 12000)))

    def workers_seen(self, queue: Queue) -> list[str]:
        """The workers of a queue that said so lately; a name begins with the queues it serves."""
        since = self.now_ms() - WORKER_SEEN_SECONDS * 1000
        with store_errors():
            names = self._client.zrangebyscore(keys.WORKERS, since, "+inf")
        return [name for name in names if queue in name.partition(" ")[0].split(",")]

    def forget_worker(self, worker: str) -> None:
        """A worker ended in order."""
        with store_errors():
            self._client.zrem(keys.WORKERS, worker)
