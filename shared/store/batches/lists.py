"""Store the users of a batch in lists of five hundred, and which were skipped."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts

if TYPE_CHECKING:
    from shared.store.batches import Batch

USERS_PER_LIST = 500  # fewer than hash-max-listpack-entries: what is noted of them stays compact
LISTS_PER_TRIP = 20
NUMBER_SIGNS = 15  # hex digits of a user's number: it fits the integers that Redis packs
SEEN_KEYS = 4096  # a million users make 244 a key
UNBEGUN_SECONDS = 3600  # of lists whose batch never began: the writer died
UNKNOWN_USER = "unknown_user"
FORMER_UNKNOWN = "not_yours"  # in batches of former releases: a user of another organisation
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class ListEntry:
    """A user of a batch; `since_ms`: when the reset was made that it is to replace, 0 for none."""

    user_id: str
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class WrittenLists:
    """Lists that stand in Redis and belong to no batch yet."""

    list_id: str
    lists: int
    total: int


class BatchLists:
    """Writes, reads and drops lists; a few thousand users are in memory at a time."""

    def __init__(self, client: Client, digests: Digests) -> None:
        """`client` may be a fake one."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)

    def write(self, entries: Iterable[ListEntry]) -> WrittenLists:
        """Put users into new lists, for an hour; `keep` keeps them longer.

        What `entries` raises is passed on; nothing is left behind then.
        """
        list_id, lists, total = secrets.token_hex(8), 0, 0
        try:
            for trip in _in_groups(_in_groups(entries, USERS_PER_LIST), LISTS_PER_TRIP):
                with store_errors():
                    pipeline = self._client.pipeline(transaction=False)
                    for number, users in enumerate(trip, start=lists):
                        text = "\n".join(map(_format, users))
                        pipeline.set(keys.batch_list(list_id, number), text, ex=UNBEGUN_SECONDS)
                    pipeline.execute()
                lists += len(trip)
                total += sum(map(len, trip))
        except BaseException:
            self.drop(list_id, lists + LISTS_PER_TRIP)
            raise
        return WrittenLists(list_id, lists, total)

    def drop(self, list_id: str, lists: int) -> None:
        """Delete lists."""
        names = (keys.batch_list(list_id, number) for number in range(lists))
        for trip in _in_groups(names, 500):
            with store_errors():
                self._client.unlink(*trip)

    def keep(self, list_id: str, lists: int, seconds: float) -> None:
        """Keep lists for so many seconds from now."""
        names = (keys.batch_list(list_id, number) for number in range(lists))
        for trip in _in_groups(names, 500):
            with store_errors():
                pipeline = self._client.pipeline(transaction=False)
                for name in trip:
                    pipeline.expire(name, int(seconds))
                pipeline.execute()

    def read(self, list_id: str, number: int) -> list[ListEntry]:
        """Return the users of one list; none if it is no longer kept."""
        with store_errors():
            text: str | None = self._client.get(keys.batch_list(list_id, number))
        return [_read(line) for line in text.split("\n")] if text else []

    def note_skips(self, batch_id: str, number: int, skips: dict[int, str], seconds: float) -> None:
        """Note why users of a list get no reset, by index; safe to repeat."""
        if skips:
            key = keys.batch_skips(batch_id, number)
            with store_errors():
                pipeline = self._client.pipeline(transaction=False)
                pipeline.hset(key, mapping=skips)
                pipeline.expire(key, int(seconds))
                pipeline.execute()

    def skips(self, batch_id: str, number: int) -> dict[int, str]:
        """Return why users of a list got no reset, by index."""
        with store_errors():
            found = self._client.hgetall(keys.batch_skips(batch_id, number))
        return {
            int(index): UNKNOWN_USER if reason == FORMER_UNKNOWN else reason
            for index, reason in found.items()
        }

    def find_user(self, batches: Iterable[Batch], user_id: str, *, erase: bool = False) -> int:
        """Return how many lines of the batches' lists name a user; erase them, and what is noted.

        The server itself searches, so the lists do not travel.
        """
        number = 0
        user_number = self._number(user_id)
        for batch in batches:
            names = (keys.batch_list(batch.list_id, each) for each in range(batch.lists))
            for trip in _in_groups(names, LISTS_PER_TRIP):
                calls = [((name,), (user_id, int(erase))) for name in trip]
                number += sum(self._scripts.run_many("batch/erase_user", calls))
            if erase:
                with store_errors():
                    seen = keys.batch_seen(batch.batch_id, user_number % SEEN_KEYS)
                    self._client.hdel(seen, str(user_number))
        return number

    def _number(self, user_id: str) -> int:
        return int(self._digests.digest("batch user", user_id)[:NUMBER_SIGNS], 16)

    def repeated(
        self, batch_id: str, number: int, users: Sequence[tuple[int, str]], seconds: float
    ) -> set[int]:
        """Return the indexes of users (index, id) that an earlier entry names; note the others."""
        calls, own = [], []
        for index, user_id in users:
            user_number = self._number(user_id)
            own.append(number * USERS_PER_LIST + index)
            key = keys.batch_seen(batch_id, user_number % SEEN_KEYS)
            calls.append(((key,), (str(user_number), own[-1], int(seconds * 1000))))
        firsts = self._scripts.run_many("batch/mark_seen", calls)
        return {
            index
            for (index, _), mine, first in zip(users, own, firsts, strict=True)
            if int(first) != mine
        }


def _format(entry: ListEntry) -> str:
    return f"{entry.user_id}\t{entry.since_ms}" if entry.since_ms else entry.user_id


def _read(line: str) -> ListEntry:
    user_id, _, since = line.partition("\t")
    return ListEntry(user_id, int(since or 0))


def _in_groups(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    group: list[ItemT] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
