"""The share of first attempts that operators give a provider."""

from __future__ import annotations

from shared.store import keys
from shared.store.audit import Act, append
from shared.store.connection import Client, store_errors


class WeightStore:
    """Sets and clears weights; each change stands in the audit trail, in the same step."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def set(self, provider: str, percent: int, *, by: str, reason: str) -> None:
        """Give a provider so many in a hundred first attempts of its channel."""
        act = Act(by=by, action=f"provider.weight {percent}", target=provider, reason=reason)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(keys.WEIGHTS, provider, percent)
            append(pipeline, act)
            pipeline.execute()

    def clear(self, provider: str, *, by: str, reason: str) -> bool:
        """Back to its place in the list; False when it had no weight."""
        act = Act(by=by, action="provider.weight none", target=provider, reason=reason)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hdel(keys.WEIGHTS, provider)
            append(pipeline, act)
            return bool(pipeline.execute()[0])

    def all(self) -> dict[str, int]:
        """Provider → percent, for those that have a weight."""
        with store_errors():
            found = self._client.hgetall(keys.WEIGHTS)
        return {name: int(percent) for name, percent in found.items()}
