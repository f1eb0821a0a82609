"""What was counted by the scripts, over all shards: the truth behind /metrics and `status`."""

from __future__ import annotations

from collections import Counter

from shared.store import keys
from shared.store.connection import Client, store_errors

LAST = "last:"


class CounterStore:
    """Reads the counters; the scripts write them, in the same step as what they count."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def totals(self) -> Counter[str]:
        """Every counter by its name in the scripts, summed over the shards.

        `in:<queue>`, `out:<queue>` (recorded, final), `now:<status>`,
        `to:<channel>:<status>`, `completed`,
        `p:<provider>:<outcome>:n|ms|b<upper bound in ms>`, `cb:<provider>:<outcome>` (callbacks),
        `d:<channel>:<provider>:ms|b<upper bound in ms>` (from the record to the recipient),
        `s:<channel>:<queue>:ms|b<upper bound in ms>` (from the record to a provider's yes),
        `w:<outcome>` (webhooks), `poison`,
        and, the newest of all shards, `last:<provider>`: when its last callback came, in ms.
        """
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.hgetall(keys.counters(tag))
            shards = pipeline.execute()
        totals: Counter[str] = Counter()
        for shard in shards:
            totals.update({n: int(v) for n, v in shard.items() if not n.startswith(LAST)})
            for name in filter(lambda name: name.startswith(LAST), shard):
                totals[name] = max(totals[name], int(shard[name]))
        return totals
