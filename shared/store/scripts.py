"""The Lua beside this file, sent once and called by digest afterwards."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeAlias

import redis
import structlog

from shared.errors import SettingsError, StoreUnavailableError
from shared.store.connection import TIMEOUT_SECONDS, Client, store_errors
from shared.store.keys import confirmed

log = structlog.get_logger()

# The command that waits, and for how long it does, in ms: with what comes before it a caller gets
# an answer within 5 s. A file written "everysec" is on the disk after a second.
WAITS: dict[str, tuple[tuple[str, ...], int]] = {
    "replica": (("WAIT", "1"), 1000),
    "disk": (("WAITAOF", "1", "0"), 1500),
}
SLACK_SECONDS = 0.5  # how much later than it should a server's answer may come


class UnconfirmedError(redis.RedisError):
    """What was written stands on one server alone, or was not even tried."""


class Durability:
    """Runs writes that count only once they are confirmed.

    While they are not, one caller at a time tries; the others are refused before they write, so
    that waits do not add up.
    """

    def __init__(self, level: str) -> None:
        """`level` is one of the setting's words; `memory` asks for nothing."""
        self.is_asked = level in WAITS
        self._wait, self._wait_ms = WAITS.get(level, ((), 0))
        self._is_doubtful = False
        self._trying = Lock()

    def run(self, client: Client, command: tuple[Any, ...]) -> Any:
        """What the server answers to a command, when all it wrote is confirmed; one round trip.

        Raises:
            redis.RedisError: it failed, or was not confirmed in time; then it may stand.
        """
        with self._turn():
            answer, confirmed = self._ask(client, command)
            if isinstance(answer, redis.RedisError):
                raise answer
            self._judge(confirmed)
            return answer

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._is_doubtful:
            yield
        elif self._trying.acquire(blocking=False):
            try:
                yield
            finally:
                self._trying.release()
        else:
            raise UnconfirmedError("nothing was confirmed a moment ago")

    def _judge(self, confirmed: Any) -> None:
        if isinstance(confirmed, redis.RedisError):
            raise confirmed
        number = confirmed[0] if isinstance(confirmed, list) else confirmed  # WAITAOF tells two
        self._is_doubtful = number < 1
        if self._is_doubtful:
            raise UnconfirmedError("not confirmed in time")

    def _ask(self, client: Client, command: tuple[Any, ...]) -> tuple[Any, Any]:
        """Both answers; they come from one connection, for that is what the server goes by."""
        connection = client.connection_pool.get_connection()
        try:
            both = (command, (*self._wait, self._wait_ms))
            connection.send_packed_command(connection.pack_commands(both))
            answer = _read(connection, TIMEOUT_SECONDS)
            return answer, _read(connection, self._wait_ms / 1000 + SLACK_SECONDS)
        except BaseException:
            connection.disconnect()
            raise
        finally:
            client.connection_pool.release(connection)


def _read(connection: Any, timeout_seconds: float) -> Any:
    """The next answer; an error among them is an answer too, for another follows it."""
    try:
        return connection.read_response(timeout=timeout_seconds)
    except redis.ResponseError as error:
        return error


def check_durability(client: Client, level: str) -> None:
    """Refuse to start where the server can never confirm; one that is away is no reason.

    Raises:
        SettingsError: the server lacks what KEYTURN_DURABILITY asks for.
    """
    try:
        if level == "disk":
            _check_disk(client)
        elif level == "replica" and not client.execute_command("WAIT", 0, 1):
            log.warning(
                "settings.doubtful",
                why="KEYTURN_DURABILITY=replica and no replica is connected: "
                "callers get 503 until one is",
            )
    except redis.ResponseError as error:
        raise SettingsError(f"KEYTURN_DURABILITY={level}: the server says: {error}") from error
    except redis.RedisError:
        log.warning("store.unavailable", during="start")


def _check_disk(client: Client) -> None:
    try:
        client.execute_command("WAITAOF", 1, 0, 1)
    except redis.ResponseError as error:
        if "unknown command" in str(error):
            raise SettingsError(
                "KEYTURN_DURABILITY=disk needs WAITAOF, so Redis 7.2 or newer, or Valkey; "
                "renew the server, or choose replica or memory"
            ) from error
        if "appendonly" in str(error):
            raise SettingsError(
                "KEYTURN_DURABILITY=disk needs an append-only file: "
                "set appendonly yes on the server"
            ) from error
        raise
    if _appendfsync(client) == "no":
        raise SettingsError(
            "KEYTURN_DURABILITY=disk needs appendfsync always (or everysec, which answers up to a "
            "second later) on the server; it is no"
        )


def _appendfsync(client: Client) -> str:
    """How the server says it writes; empty where it does not let everybody ask."""
    try:
        return str(client.config_get("appendfsync").get("appendfsync", ""))
    except redis.ResponseError:
        return ""


Argument: TypeAlias = str | int | float
Call: TypeAlias = tuple[Sequence[str], Sequence[Argument]]  # keys and arguments
SharingCall: TypeAlias = tuple[tuple[str, ...], tuple[Argument, ...]]

# How many calls one script makes in the place of many: Redis serves nobody else meanwhile.
MAX_TOGETHER = 20
MAX_REST_SECONDS = 0.005  # after each, as long as it took: Redis is never ours for more than half

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
        sleep(min(monotonic() - began, MAX_REST_SECONDS))
        return answers


def _chunks(calls: Sequence[SharingCall], own: tuple[int, int]) -> Iterator[list[int]]:
    """Places of calls that share all but what is their own, a few at a time."""
    own_keys, own_arguments = own
    sharing: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, (keys, arguments) in enumerate(calls):
        slot = keys[0].partition("}")[0]
        sharing[slot, keys[own_keys:], arguments[own_arguments:]].append(place)
    for places in sharing.values():
        number = -(-len(places) // MAX_TOGETHER)
        size = -(-len(places) // number)  # all about as large: a small one costs a trip, too
        for first in range(0, len(places), size):
            yield places[first : first + size]
