"""The records as they stand in the server, read without Keyturn's own eyes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.store import keys
from shared.store.connection import Client, nodes_of

DUE = ("urgent", "bulk")
MAX_AT_ONCE = 1000


class Records:
    """Reads resets, due sets and reports; each call may fail while the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ids(self) -> list[str]:
        """Every reset there is."""
        return [key.rpartition(":")[2] for tag in keys.TAGS for key in self._scan(f"{tag}:r:*")]

    def load(self, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Reset id → its fields."""
        pipe = self._client.pipeline(transaction=False)
        for reset_id in ids:
            pipe.hgetall(keys.reset(reset_id))
        return dict(zip(ids, pipe.execute(), strict=True))

    def due(self) -> frozenset[str]:
        """The ids in the due sets."""
        pipe = self._client.pipeline(transaction=False)
        for tag in keys.TAGS:
            for queue in DUE:
                pipe.zrange(keys.due(tag, queue), 0, -1)
        return frozenset(reset_id for ids in pipe.execute() for reset_id in ids)

    def open_resets(self) -> int:
        """How many are not final."""
        pipe = self._client.pipeline(transaction=False)
        for tag in keys.TAGS:
            for queue in DUE:
                pipe.zcard(keys.due(tag, queue))
        return sum(pipe.execute())

    def reports(self) -> int:
        """How many reports of providers have been noted and not applied yet."""
        pipe = self._client.pipeline(transaction=False)
        for tag in keys.TAGS:
            pipe.llen(keys.receipts(tag))
        return sum(pipe.execute())

    def forget_people(self) -> None:
        """Remove the directory's own records, and write all that is left to a snapshot."""
        for some in _in_pieces(self._scan("kt:user:*")):
            self._client.unlink(*some)
        for node in nodes_of(self._client):
            node.save()

    def _scan(self, pattern: str) -> list[str]:
        return list(self._client.scan_iter(match=pattern.replace("{", "[{]"), count=5000))


def _in_pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + MAX_AT_ONCE] for start in range(0, len(names), MAX_AT_ONCE))
