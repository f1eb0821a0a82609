"""Look whether a Redis is as Keyturn needs it, node by node; nothing is changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import redis

from shared.codes import key_id
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors

MIN_VERSION = (7, 0)  # the scripts say themselves what they may do
MAX_SKEW_SECONDS, WRONG_SKEW_SECONDS = 1.0, 30.0
MAX_MEMORY_RATIO = 0.7
Tries: TypeAlias = dict[str, tuple[tuple[str, ...], str]]
# What Keyturn sends, in a harmless form, and what is missing where it is refused.
NEEDED: Tries = {
    "EVAL": (("EVAL", "return 1", "0"), "Keyturn cannot work"),
    "SCRIPT LOAD": (("SCRIPT", "LOAD", "return 1"), "Keyturn cannot work"),
    "TIME": (("TIME",), "Keyturn cannot work"),
}
USEFUL: Tries = {
    "INFO": (
        ("INFO", "server"),
        "version, memory and persistence are unknown, here and in metrics",
    ),
    "CONFIG GET": (("CONFIG", "GET", "appendfsync"), "appendfsync is unknown"),
    "SCAN": (("SCAN", "0", "COUNT", "1"), "suppressions cannot be listed"),
}
BY_DURABILITY: dict[str, Tries] = {
    "replica": {"WAIT": (("WAIT", "0", "1"), "KEYTURN_DURABILITY=replica is impossible")},
    "disk": {
        "WAITAOF": (("WAITAOF", "0", "0", "1"), "KEYTURN_DURABILITY=disk is impossible"),
    },
}


class Check(NamedTuple):
    """One line of `keyturn doctor`; the text of a warning or an error says what mends it."""

    about: str
    level: str  # ok, warning or error
    text: str


def inspect_nodes(nodes: Mapping[str, Client], settings: Settings) -> Iterator[Check]:
    """Yield what is right and wrong with each node that holds records, by its name."""
    skews: dict[str, float] = {}
    for name, client in nodes.items():
        where = f"{name}: " if len(nodes) > 1 else ""
        try:
            for each in (*_commands(client, settings), *_server(client, settings)):
                yield each._replace(text=where + each.text)
            skews[name] = _skew_seconds(client)
        except (redis.AuthenticationError, redis.ResponseError) as error:
            yield Check("redis", "error", f"{where}refuses us: {_first_word(error)}; correct user, "
                        "password or permissions (ACL) in KEYTURN_REDIS_URL")  # fmt: skip
        except redis.RedisError as error:
            yield Check("redis", "error", f"{where}does not answer ({type(error).__name__}); start "
                        "it, or correct KEYTURN_REDIS_URL")  # fmt: skip
    if skews:
        yield _judge_clocks(skews)


def inspect_keys(client: Client, secret_keys: tuple[str, ...]) -> Check:
    """Return whether the secret keys open what the store has sealed, without sealing anything.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    with store_errors():
        known = set(client.hkeys(keys.SEAL))
    if not known:
        return Check("keys", "ok", "this Redis is new; the first start seals it with "
                     "KEYTURN_SECRET_KEYS")  # fmt: skip
    if known.isdisjoint(map(key_id, secret_keys)):
        return Check("keys", "error", "KEYTURN_SECRET_KEYS holds none of the keys this Redis was "
                     f"used with ({', '.join(sorted(known))}); put the old key behind the new one: "
                     "NEW,OLD")  # fmt: skip
    return Check("keys", "ok", "KEYTURN_SECRET_KEYS are those of this Redis")


def _commands(client: Client, settings: Settings) -> Iterator[Check]:
    """Try each command that Keyturn sends."""
    wanted = BY_DURABILITY.get(settings.durability, {})
    refused = {
        name: (name not in USEFUL, missing)
        for name, (command, missing) in {**NEEDED, **wanted, **USEFUL}.items()
        if not _is_allowed(client, command)
    }
    for name, (is_needed, missing) in refused.items():
        text = f"{name} is refused: {missing}; let the user of KEYTURN_REDIS_URL send it (ACL)"
        yield Check("commands", "error" if is_needed else "warning", text)
    if not refused:
        yield Check("commands", "ok", "nothing that Keyturn sends is refused")


def _is_allowed(client: Client, command: tuple[str, ...]) -> bool:
    try:
        client.execute_command(*command)
    except redis.ResponseError:
        return False
    return True


def _server(client: Client, settings: Settings) -> Iterator[Check]:
    try:
        info: dict[str, Any] = client.info()
    except redis.ResponseError:
        return
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "?"))
    mode, role = info.get("redis_mode", "standalone"), info.get("role", "master")
    shown = f"{name} {version}, {mode}, {'a replica' if role == 'slave' else 'primary'}"
    if mode == "sentinel":
        yield Check("redis", "error", f"{shown}: it holds no records; name the Sentinels as "
                    "redis+sentinel://HOST,HOST/NAME in KEYTURN_REDIS_URL")  # fmt: skip
        return
    if role == "slave":
        yield Check("redis", "error", f"{shown}: it refuses writes; name the primary in "
                    "KEYTURN_REDIS_URL")  # fmt: skip
    elif mode == "cluster" and not settings.redis_url.startswith("redis+cluster"):
        yield Check("redis", "error", f"{shown}: it holds a part of the keys; name the cluster as "
                    "redis+cluster://HOST,HOST in KEYTURN_REDIS_URL")  # fmt: skip
    elif tuple(map(int, re.findall(r"\d+", version)[:2])) < MIN_VERSION:
        yield Check("redis", "error", f"{shown}: too old; Keyturn needs Redis 7.0, or Valkey")
    else:
        yield Check("redis", "ok", shown)
    yield _judge_memory(info)
    yield _judge_persistence(client, info, settings.durability)
    if settings.durability == "replica":
        number = info.get("connected_slaves", 0)
        text = "; callers get 503 until there is one (KEYTURN_DURABILITY=replica)"
        text = f"{number} connected{'' if number else text}"
        yield Check("replicas", "ok" if number else "error", text)


def _judge_memory(info: Mapping[str, Any]) -> Check:
    limit, policy = info.get("maxmemory", 0), info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: full, Redis drops records; set it to noeviction"
        return Check("memory", "error" if limit else "warning", text)
    ratio = info.get("used_memory", 0) / limit if limit else 0.0
    if ratio > MAX_MEMORY_RATIO:
        return Check("memory", "warning", f"{ratio:.0%} of maxmemory is used, and a full server "
                     "refuses resets; raise maxmemory")  # fmt: skip
    used = f"{ratio:.0%} of maxmemory is used" if limit else "maxmemory is not set"
    return Check("memory", "ok", f"{used}; noeviction")


def _judge_persistence(client: Client, info: Mapping[str, Any], durability: str) -> Check:
    if info.get("aof_last_write_status", "ok") != "ok":
        return Check("persistence", "error", "the append-only file cannot be written; free the "
                     "server's disk")  # fmt: skip
    if not info.get("aof_enabled"):
        return Check("persistence", "error" if durability == "disk" else "warning",
                     "there is no append-only file: a restart forgets what callers were promised; "
                     "set appendonly yes and appendfsync always")  # fmt: skip
    try:
        fsync = str(client.config_get("appendfsync").get("appendfsync", ""))
    except redis.ResponseError:
        return Check("persistence", "ok", "an append-only file; appendfsync is unknown")
    if fsync != "always":
        return Check("persistence", "warning", f"appendfsync is {fsync}: a crash of the server "
                     "forgets the last seconds; set it to always")  # fmt: skip
    return Check("persistence", "ok", "an append-only file, written before each answer")


def _skew_seconds(client: Client) -> float:
    """Return how far a node's clock is ahead of this host's, give or take half a trip."""
    before = time.time()
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6 - (before + time.time()) / 2)


def _judge_clocks(skews: Mapping[str, float]) -> Check:
    """Compare the clocks of all nodes with this host's, and so with each other."""
    values = (0.0, *skews.values())
    apart = max(values) - min(values)
    shown = ", ".join(f"{name or 'Redis'} {skew:+.1f} s" for name, skew in skews.items())
    if apart <= MAX_SKEW_SECONDS:
        return Check("clocks", "ok", f"this host's and Redis's are {apart:.1f} s apart")
    return Check("clocks", "error" if apart > WRONG_SKEW_SECONDS else "warning",
                 f"clocks are {apart:.1f} s apart (against this host's: {shown}): codes, callbacks "
                 "and tokens are judged by them; let NTP set all of them")  # fmt: skip


def _first_word(error: redis.RedisError) -> str:
    """Return the code of an answer: its text may repeat what was sent."""
    return str(error).partition(" ")[0] or type(error).__name__
