"""What was counted by the scripts, over all shards: the truth behind /metrics and `status`."""

from __future__ import annotations

from collections import Counter

from shared.store import keys
from shared.store.connection import Client, store_errors


class CounterStore:
    """Reads the counters; the scripts write them, in the same step as what they count."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def totals(self) -> Counter[str]:
        """Every counter by its name in the scripts, summed over the shards.

        `now:<status>`, `to:<channel>:<status>`, `completed`,
        `p:<provider>:<outcome>:n|ms|b<upper bound in ms>`.
        """
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.hgetall(keys.counters(tag))
            shards = pipeline.execute()
        totals: Counter[str] = Counter()
        for shard in shards:
            totals.update({name: int(value) for name, value in shard.items()})
        return totals
