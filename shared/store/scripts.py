"""The Lua beside this file, sent once and called by digest afterwards."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeAlias

import redis

from shared.errors import StoreUnavailableError
from shared.store.connection import Client, store_errors
from shared.store.durability import Durability
from shared.store.keys import confirmed

Argument: TypeAlias = str | int | float
Call: TypeAlias = tuple[Sequence[str], Sequence[Argument]]  # keys and arguments
SharingCall: TypeAlias = tuple[tuple[str, ...], tuple[Argument, ...]]

# How many calls one script makes in the place of many: Redis serves nobody else meanwhile.
MOST_TOGETHER = 20
MOST_REST_SECONDS = 0.005  # after each, as long as it took: Redis is never ours for more than half

# A script whose first line begins so may write on a full server, and says why; the others are
# refused there before their first write. The flag must stand in the first line of all.
WHEN_FULL = "-- allow-oom:"
ALLOW_OOM = "#!lua flags=allow-oom\n"


# The same script for many calls of one slot. KEYS and ARGV hold what is each call's own, one call
# after the other, then what all share; ARGV begins with their number, and what of either is own.
TOGETHER = """
local function one(KEYS, ARGV)
{script}
end
local n, k, a, answers = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {{}}
sums = {{}}
for i = 1, n do
  local keys = {{unpack(KEYS, (i - 1) * k + 1, i * k)}}
  local arguments = {{unpack(ARGV, 4 + (i - 1) * a, 3 + i * a)}}
  for j = n * k + 1, #KEYS do keys[#keys + 1] = KEYS[j] end
  for j = 4 + n * a, #ARGV do arguments[#arguments + 1] = ARGV[j] end
  answers[i] = one(keys, arguments)
end
add_up()
return answers
"""


@cache
def _source(name: str, *, together: bool = False) -> tuple[str, str]:
    folder = files("shared.store") / "lua"
    script = (folder / f"{name}.lua").read_text()
    flags = ALLOW_OOM if script.startswith(WHEN_FULL) else ""
    if together:
        script = TOGETHER.format(script=script)
    text = flags + (folder / "prelude.lua").read_text() + script
    return text, hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


class Scripts:
    """Calls scripts by name."""

    def __init__(self, client: Client, durability: str = "memory") -> None:
        """`client` may be a fake one as long as `durability` asks for nothing."""
        self._client, self._durability = client, Durability(durability)
        self._turn = Lock()  # many calls one after the other: whoever sends one mail comes between

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """What the script answers.

        Raises:
            StoreUnavailableError: Redis did not answer, or refused to write.
        """
        return self._run(*_source(name), keys, arguments)

    def _run(
        self, text: str, digest: str, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        with store_errors():
            try:
                return self._client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return self._client.execute_command("EVAL", text, len(keys), *keys, *arguments)

    def run_durably(
        self, name: str, keys: Sequence[str], arguments: Sequence[Argument] = ()
    ) -> Any:
        """As `run`; and what the script wrote is as durable as KEYTURN_DURABILITY asks for.

        A script that is repeated must write again, or nobody waits: see `confirm`.

        Raises:
            StoreUnavailableError: also when it was not confirmed in time; then it may stand.
        """
        if not self._durability.is_asked:
            return self.run(name, keys, arguments)
        text, digest = _source(name)
        with store_errors():
            rest = (len(keys), *keys, *arguments)
            try:
                return self._durability.run(self._client, ("EVALSHA", digest, *rest))
            except redis.exceptions.NoScriptError:
                return self._durability.run(self._client, ("EVAL", text, *rest))

    def confirm(self, tag: str) -> None:
        """Come back once all that was written to a shard so far is as durable as asked for.

        Raises:
            StoreUnavailableError: it was not confirmed in time.
        """
        if self._durability.is_asked:
            self.run_durably("touch", (confirmed(tag),))

    def run_many(self, name: str, calls: Sequence[Call]) -> list[Any]:
        """What the script answers to each (keys, arguments), in one round trip."""
        text, digest = _source(name)
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.script_load(text)
            for keys, arguments in calls:
                pipeline.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute()
            return answers[1:]

    def run_together(
        self, name: str, calls: Sequence[SharingCall], *, own: tuple[int, int]
    ) -> list[Any]:
        """What the script answers to each call; those that share a slot share their commands.

        `own`: so many keys and arguments of a call, from the first, are its own; the others are
        said once for all calls whose others are the same.

        Where Redis did not answer, or refused to write, the answer is the StoreUnavailableError:
        those calls may have been made or not.
        """
        answers: list[Any] = [None] * len(calls)
        trouble: StoreUnavailableError | None = None
        with self._turn:
            for places in _chunks(calls, own):
                if trouble is None:
                    try:
                        told = self._run_chunk(name, [calls[place] for place in places], own)
                    except StoreUnavailableError as error:
                        trouble = error  # and nobody else waits for a server that is away
                for number, place in enumerate(places):
                    answers[place] = trouble or told[number]
        return answers

    def _run_chunk(
        self, name: str, calls: Sequence[SharingCall], own: tuple[int, int]
    ) -> list[Any]:
        own_keys, own_arguments = own
        all_keys: list[str] = []
        all_arguments: list[Argument] = [len(calls), own_keys, own_arguments]
        for keys, arguments in calls:
            all_keys += keys[:own_keys]
            all_arguments += arguments[:own_arguments]
        all_keys += calls[0][0][own_keys:]
        all_arguments += calls[0][1][own_arguments:]
        began = monotonic()
        answers: list[Any] = self._run(*_source(name, together=True), all_keys, all_arguments)
        sleep(min(monotonic() - began, MOST_REST_SECONDS))
        return answers


def _chunks(calls: Sequence[SharingCall], own: tuple[int, int]) -> Iterator[list[int]]:
    """Places of calls that share all but what is their own, a few at a time."""
    own_keys, own_arguments = own
    sharing: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, (keys, arguments) in enumerate(calls):
        slot = keys[0].partition("}")[0]
        sharing[slot, keys[own_keys:], arguments[own_arguments:]].append(place)
    for places in sharing.values():
        number = -(-len(places) // MOST_TOGETHER)
        size = -(-len(places) // number)  # all about as large: a small one costs a trip, too
        for first in range(0, len(places), size):
            yield places[first : first + size]
