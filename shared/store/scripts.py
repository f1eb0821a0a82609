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

# How many calls one script makes in the place of many: Redis serves nobody else meanwhile.
MOST_TOGETHER = 30
MOST_REST_SECONDS = 0.005  # after each, as long as it took: Redis is never ours for more than half

# A script whose first line begins so may write on a full server, and says why; the others are
# refused there before their first write. The flag must stand in the first line of all.
WHEN_FULL = "-- allow-oom:"
ALLOW_OOM = "#!lua flags=allow-oom\n"


# The same script for many calls that share a slot: ARGV begins with how many keys and arguments
# belong to one.
TOGETHER = """
local function one(KEYS, ARGV)
{script}
end
local k, a, answers = tonumber(ARGV[1]), tonumber(ARGV[2]), {{}}
for i = 1, #KEYS / k do
  local keys, arguments = {{}}, {{}}
  for j = 1, k do keys[j] = KEYS[(i - 1) * k + j] end
  for j = 1, a do arguments[j] = ARGV[2 + (i - 1) * a + j] end
  answers[i] = one(keys, arguments)
end
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
        self._turn = Lock()  # one large command at a time: whoever sends one mail comes between

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

    def run_together(self, name: str, calls: Sequence[Call]) -> list[Any]:
        """What the script answers to each call; those of one slot share their commands.

        Where Redis did not answer, or refused to write, the answer is the StoreUnavailableError:
        those calls may have been made or not.
        """
        answers: list[Any] = [None] * len(calls)
        trouble: StoreUnavailableError | None = None
        for places in _by_slot(calls):
            if trouble is None:
                try:
                    told = self._run_chunk(name, [calls[place] for place in places])
                except StoreUnavailableError as error:
                    trouble = error  # and nobody else waits for a server that is away
            for number, place in enumerate(places):
                answers[place] = trouble or told[number]
        return answers

    def _run_chunk(self, name: str, calls: Sequence[Call]) -> list[Any]:
        keys, arguments = calls[0]
        all_keys: list[str] = []
        all_arguments: list[Argument] = [len(keys), len(arguments)]
        for keys, arguments in calls:
            all_keys += keys
            all_arguments += arguments
        with self._turn:
            began = monotonic()
            answers: list[Any] = self._run(*_source(name, together=True), all_keys, all_arguments)
            sleep(min(monotonic() - began, MOST_REST_SECONDS))
        return answers


def _by_slot(calls: Sequence[Call]) -> Iterator[list[int]]:
    """Places of calls with the same hash tag and number of arguments, a chunk at a time."""
    slots: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, (keys, arguments) in enumerate(calls):
        slots[keys[0].partition("}")[0], len(arguments)].append(place)
    for places in slots.values():
        for first in range(0, len(places), MOST_TOGETHER):
            yield places[first : first + MOST_TOGETHER]
