"""Run the Lua scripts of shared/store/lua: sent once, called by digest afterwards."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from itertools import chain
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeAlias

import redis
import structlog
from redis.exceptions import NoScriptError

from shared.errors import SettingsError, StoreUnavailableError
from shared.store.connection import AWAY, TIMEOUT_SECONDS, Client, nodes_of, store_errors
from shared.store.keys import confirmed

log = structlog.get_logger()

# The command that waits, and for how long it does, in ms: with what comes before it a caller gets
# an answer within 5 s. A file written "everysec" is on the disk after a second.
WAITS: dict[str, tuple[tuple[str, ...], int]] = {
    "replica": (("WAIT", "1"), 1000),
    "replica:2": (("WAIT", "2"), 1000),
    "replica:3": (("WAIT", "3"), 1000),
    "disk": (("WAITAOF", "1", "0"), 1500),
}
SLACK_SECONDS = 0.5  # how late the server's answer may be


class UnconfirmedError(redis.RedisError):
    """The write was not confirmed in time, or was not tried."""


class Durability:
    """Run writes that count only once they are confirmed.

    While they are not, one caller at a time tries; the others are refused before they write, so
    that their waits do not add up.
    """

    def __init__(self, level: str) -> None:
        """`level` is a value of KEYTURN_DURABILITY; `memory` waits for nothing."""
        self.is_asked = level in WAITS
        self._wait, self._wait_ms = WAITS.get(level, ((), 0))
        self._failing: set[Client] = set()  # nodes
        self._trying: defaultdict[Client, Lock] = defaultdict(Lock)

    def run(self, node: Client, command: tuple[Any, ...], *, is_asking: bool = False) -> Any:
        """Run a command; return its answer once all it wrote is confirmed. One round trip.

        `is_asking`: the slot is on its way to this node of a cluster, which wants to be told.

        Raises:
            redis.RedisError: it failed, or was not confirmed in time, though perhaps written.
        """
        with self._turn(node):
            before = (("ASKING",),) if is_asking else ()
            *_, answer, confirmed = self._ask(node, (*before, command))
            if isinstance(answer, redis.RedisError):
                raise answer
            self._judge(node, confirmed)
            return answer

    @contextmanager
    def _turn(self, node: Client) -> Iterator[None]:
        if node not in self._failing:
            yield
        elif self._trying[node].acquire(blocking=False):
            try:
                yield
            finally:
                self._trying[node].release()
        else:
            raise UnconfirmedError("a write was not confirmed a moment ago")

    def _judge(self, node: Client, confirmed: Any) -> None:
        if isinstance(confirmed, redis.RedisError):
            raise confirmed
        number = confirmed[0] if isinstance(confirmed, list) else confirmed  # WAITAOF returns two
        self._failing.discard(node)
        if number < int(self._wait[1]):
            self._failing.add(node)
            raise UnconfirmedError("not confirmed in time")

    def _ask(self, node: Client, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        """Return all answers; WAIT confirms only the writes of its own connection."""
        connection = node.connection_pool.get_connection()
        try:
            all_ = (*commands, (*self._wait, self._wait_ms))
            connection.send_packed_command(connection.pack_commands(all_))
            answers = [_read(connection, TIMEOUT_SECONDS) for _ in commands]
            return [*answers, _read(connection, self._wait_ms / 1000 + SLACK_SECONDS)]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            node.connection_pool.release(connection)


def _read(connection: Any, timeout_seconds: float) -> Any:
    """Return the next answer; an error reply is returned, because another reply follows it."""
    try:
        return connection.read_response(timeout=timeout_seconds)
    except redis.ResponseError as error:
        return error


def check_durability(client: Client, level: str) -> None:
    """Raise SettingsError if a node can never confirm; do not if it is away.

    Raises:
        SettingsError: the server lacks what KEYTURN_DURABILITY asks for.
    """
    try:
        for node in nodes_of(client):
            if level == "disk":
                _check_disk(node)
            elif level in WAITS and node.execute_command("WAIT", 0, 1) < int(WAITS[level][0][1]):
                log.warning(
                    "settings.doubtful",
                    why=f"KEYTURN_DURABILITY={level} and fewer replicas are connected: "
                    "callers get 503, and nothing is sent, until they are",
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
    """Return the server's appendfsync; empty if CONFIG GET is not allowed."""
    try:
        return str(client.config_get("appendfsync").get("appendfsync", ""))
    except redis.ResponseError:
        return ""


Argument: TypeAlias = str | int | float
Call: TypeAlias = tuple[Sequence[str], Sequence[Argument]]  # keys and arguments
NamedCall: TypeAlias = tuple[str, Sequence[str], Sequence[Argument]]  # a script's name before them
SharingCall: TypeAlias = tuple[tuple[str, ...], tuple[Argument, ...]]

# How many calls one script makes: Redis serves no other client meanwhile.
MAX_TOGETHER = 25
# Rest after each as long as Redis's processor took, so that it is free half of the time. Waits for
# the disk do not count: Redis serves others then.
MAX_REST_SECONDS = 0.005

# A script whose first line begins so may write on a full server, and gives the reason; the others
# are refused there before their first write. Redis reads the flags from the very first line.
WHEN_FULL = "-- allow-oom:"
ALLOW_OOM = "#!lua flags=allow-oom\n"


# Runs a script for many calls, in groups of one slot. KEYS and ARGV hold, group by group, each
# call's own values, call by call, then those that the group shares. ARGV begins with the numbers of
# groups, of own keys and of own arguments; then, for each group, the numbers of calls, of shared
# keys and of shared arguments. It returns the answers, then the microseconds it took of Redis's
# processor.
TOGETHER = """
local function one(KEYS, ARGV)
{script}
end
local began = os.clock()
local groups, k, a, answers = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {{}}
local key, argument = 0, 3 + 3 * groups
sums = {{}}
for g = 1, groups do
  local n, k_shared, a_shared = unpack(ARGV, 1 + 3 * g, 3 + 3 * g)
  local own_keys, own_arguments = key + n * k, argument + n * a
  for i = 1, n do
    local keys = {{unpack(KEYS, key + (i - 1) * k + 1, key + i * k)}}
    local arguments = {{unpack(ARGV, argument + (i - 1) * a + 1, argument + i * a)}}
    for j = own_keys + 1, own_keys + k_shared do keys[#keys + 1] = KEYS[j] end
    for j = own_arguments + 1, own_arguments + a_shared do arguments[#arguments + 1] = ARGV[j] end
    answers[#answers + 1] = one(keys, arguments)
  end
  key, argument = own_keys + k_shared, own_arguments + a_shared
end
add_up()
answers[#answers + 1] = math.floor((os.clock() - began) * 1000000)
return answers
"""

# Runs scripts in turn, each if the one before went well. ARGV begins with the numbers of keys and
# arguments of each. It returns their answers.
IN_TURN = """
local going_well = {ok = true, recorded = true, known = true}
local answers, key, argument = {}, 0, 2 * #steps
for i, step in ipairs(steps) do
  local k, a = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  answers[i] = step({unpack(KEYS, key + 1, key + k)}, {unpack(ARGV, argument + 1, argument + a)})
  if not going_well[answers[i][1]] then break end
  key, argument = key + k, argument + a
end
return answers
"""
GOING_WELL = ("ok", "recorded", "known")
CLOCK_SECONDS = 60.0  # for how long a clock that was read is reckoned on with


@cache
def _source(*names: str, together: bool = False) -> tuple[str, str]:
    folder = files("shared.store") / "lua"
    scripts = [(folder / f"{name}.lua").read_text() for name in names]
    flags = ALLOW_OOM if scripts[0].startswith(WHEN_FULL) else ""
    script = scripts[0]
    if together:
        script = TOGETHER.format(script=script)
    elif len(names) > 1:
        steps = ",\n".join(f"function(KEYS, ARGV)\n{each}\nend" for each in scripts)
        script = f"local steps = {{{steps}}}\n{IN_TURN}"
    text = flags + (folder / "prelude.lua").read_text() + script
    return text, hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


class Scripts:
    """Run scripts by their path below lua/, such as "reset/record"."""

    def __init__(self, client: Client, durability: str = "memory") -> None:
        """`client` may be a fake one as long as `durability` is `memory`."""
        self._client, self._durability = client, Durability(durability)
        self.has_one_node = getattr(client, "has_one_node", True)
        self.clocks: dict[str, tuple[float, float]] = {}  # µs ahead of ours, until when, by node
        self._turn = Lock()  # one chunk of run_together at a time: single calls come between

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script; return its answer.

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
            except NoScriptError:
                return self._client.execute_command("EVAL", text, len(keys), *keys, *arguments)

    def run_durably(
        self, name: str, keys: Sequence[str], arguments: Sequence[Argument] = ()
    ) -> Any:
        """Run a script; return once its writes are as durable as KEYTURN_DURABILITY asks for.

        Only writes of this very call are waited for; for earlier ones see `confirm`.

        Raises:
            StoreUnavailableError: as `run`; or not confirmed in time, though perhaps written.
        """
        return self._run_durably(*_source(name), keys, arguments)

    def run_in_turn(self, *calls: NamedCall) -> list[Any]:
        """Run scripts, each if the one before went well; return the answers of those that ran.

        One step and trip where one node holds everything. The last is run durably.
        """
        if not self.has_one_node:
            answers: list[Any] = []
            for call in calls:
                answers.append((self.run_durably if call is calls[-1] else self.run)(*call))
                if answers[-1][0] not in GOING_WELL:
                    break
            return answers
        names, all_keys, arguments = zip(*calls, strict=True)
        numbers = [len(part) for _, *parts in calls for part in parts]
        everything = [*chain(*all_keys)], [*numbers, *chain(*arguments)]
        return list(self._run_durably(*_source(*names), *everything))

    def clock_us(self, tag: str) -> int:
        """Return the clock of a shard's node or a little less: as last read, and the time since."""
        place = "" if self.has_one_node else tag
        ahead, until = self.clocks.get(place, (0.0, 0.0))
        if monotonic() >= until:
            us = int(self.run("now", (confirmed(tag),), ()))
            ahead = us - monotonic() * 1_000_000
            self.clocks[place] = ahead, monotonic() + CLOCK_SECONDS
        return int(ahead + monotonic() * 1_000_000)

    def _run_durably(
        self, text: str, digest: str, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        if not self._durability.is_asked:
            return self._run(text, digest, keys, arguments)
        with store_errors():
            rest = (len(keys), *keys, *arguments)
            try:
                return self._confirmed(("EVALSHA", digest, *rest))
            except NoScriptError:
                return self._confirmed(("EVAL", text, *rest))

    def _confirmed(self, command: tuple[Any, ...]) -> Any:
        if self.has_one_node:
            return self._durability.run(self._client, command)
        return self._client.on_node(
            command[3],
            lambda node, is_asking: self._durability.run(node, command, is_asking=is_asking),
        )

    def confirm(self, tag: str, *record: str) -> None:
        """Return once all earlier writes to a shard are as durable as asked for.

        Raises:
            StoreUnavailableError: it was not confirmed in time; or the record is not there, since
                it was read from a server that is being replaced.
        """
        if self._durability.is_asked and not self.run_durably("touch", (confirmed(tag), *record)):
            raise StoreUnavailableError

    def look_ahead(self, key: str, *, absent: str) -> tuple[str, bool]:
        """Return what a script of another slot names in place of a key, and if the key is known.

        On one node the script looks by itself. On a cluster it cannot, and we have looked.
        """
        if self.has_one_node:
            return key, False
        with store_errors():
            return absent, bool(self._client.exists(key))

    def run_many(self, name: str, calls: Sequence[Call], *, may_lack: bool = False) -> list[Any]:
        """Run a script for each (keys, arguments), in one round trip to a node; return the answers.

        A node that does not know the script yet costs a second one. `may_lack`: the answers of a
        cluster's nodes that are away are left out.
        """
        text, digest = _source(name)
        with store_errors():
            answers = self._pipe(("EVALSHA", digest), calls)
            unknown = [i for i, each in enumerate(answers) if isinstance(each, NoScriptError)]
            repeated = self._pipe(("EVAL", text), [calls[i] for i in unknown])
            for index, answer in zip(unknown, repeated, strict=True):
                answers[index] = answer
            for answer in answers:
                if isinstance(answer, redis.RedisError) and not (
                    may_lack and isinstance(answer, AWAY)
                ):
                    raise answer
            return [answer for answer in answers if not isinstance(answer, redis.RedisError)]

    def _pipe(self, command: tuple[str, str], calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.execute_command(*command, len(keys), *keys, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    def run_together(
        self,
        name: str,
        calls: Sequence[SharingCall],
        *,
        own: tuple[int, int],
        is_durable: bool = False,
    ) -> list[Any]:
        """Run a script for each call; many share a command, on a cluster those of one slot.

        Return the answers. `own`: how many of a call's first keys and arguments are its own; the
        others are sent once for all calls that have the same others. `is_durable`: as
        `run_durably`.

        Where Redis did not answer, or refused to write, the answer is the StoreUnavailableError:
        those calls may have run or not.
        """
        answers: list[Any] = [None] * len(calls)
        failure: StoreUnavailableError | None = None
        for chunk in _chunks(_groups(calls, own), are_alone=not self.has_one_node):
            if failure is None:
                try:
                    with self._turn:
                        run = self._run_durably if is_durable else self._run
                        found = self._run_chunk(run, name, calls, chunk, own)
                except StoreUnavailableError as error:
                    failure = error  # do not wait again for a server that is away
            for number, index in enumerate(chain(*chunk)):
                answers[index] = failure or found[number]
        return answers

    @staticmethod
    def _run_chunk(
        run: Callable[..., Any],
        name: str,
        calls: Sequence[SharingCall],
        chunk: list[list[int]],
        own: tuple[int, int],
    ) -> list[Any]:
        own_keys, own_arguments = own
        numbers: list[Argument] = [len(chunk), *own]
        all_keys: list[str] = []
        all_arguments: list[Argument] = []
        for group in chunk:
            for index in group:
                keys, arguments = calls[index]
                all_keys += keys[:own_keys]
                all_arguments += arguments[:own_arguments]
            all_keys += keys[own_keys:]
            all_arguments += arguments[own_arguments:]
            numbers += (len(group), len(keys) - own_keys, len(arguments) - own_arguments)
        answers: list[Any]
        *answers, took_us = run(*_source(name, together=True), all_keys, numbers + all_arguments)
        sleep(min(took_us / 1_000_000, MAX_REST_SECONDS))
        return answers


def _groups(calls: Sequence[SharingCall], own: tuple[int, int]) -> Iterator[list[int]]:
    """Yield the indexes of calls of a slot that differ only in their own values, few at a time."""
    own_keys, own_arguments = own
    sharing: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (keys, arguments) in enumerate(calls):
        slot = keys[0].partition("}")[0]
        sharing[slot, keys[own_keys:], arguments[own_arguments:]].append(index)
    for indexes in sharing.values():
        number = -(-len(indexes) // MAX_TOGETHER)
        size = -(-len(indexes) // number)  # of similar size: a small chunk costs a trip, too
        for first in range(0, len(indexes), size):
            yield indexes[first : first + size]


def _chunks(groups: Iterator[list[int]], *, are_alone: bool) -> Iterator[list[list[int]]]:
    """Yield what goes into a command: one group, or as many as make few calls together."""
    chunk: list[list[int]] = []
    for group in groups:
        if chunk and (are_alone or sum(map(len, chunk)) + len(group) > MAX_TOGETHER):
            yield chunk
            chunk = []
        chunk.append(group)
    if chunk:
        yield chunk
