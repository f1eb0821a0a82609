"""Look whether a Redis is as Keyturn needs it, node by node; nothing is changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

import redis

from shared.codes import key_id
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, nodes_of

MIN_VERSION = (7, 0)  # the scripts say themselves what they may do
MAX_SKEW_SECONDS, WRONG_SKEW_SECONDS = 1.0, 30.0
MAX_MEMORY_RATIO = 0.7
AWAY = "does not answer ({}); start it, or mend KEYTURN_REDIS_URL"
# What Keyturn sends, in a harmless form; how bad a refusal is, and with which durability it counts.
COMMANDS = (
    (("EVAL", "return 1", "0"), "error", ""),
    (("SCRIPT", "LOAD", "return 1"), "error", ""),
    (("TIME",), "error", ""),
    (("WAIT", "0", "1"), "error", "replica"),
    (("WAITAOF", "0", "0", "1"), "error", "disk"),
    (("INFO", "server"), "warning", ""),
    (("CONFIG", "GET", "appendfsync"), "warning", ""),
    (("SCAN", "0", "COUNT", "1"), "warning", ""),
)


class Check(NamedTuple):
    """One line of `keyturn doctor`; the text of a warning or an error says what mends it."""

    about: str
    level: str  # ok, warning or error
    text: str

    @classmethod
    def judge(cls, about: str, fine: str, *wrong: tuple[object, str, str]) -> Self:
        """Return the first of the rules (condition, level, text) that is met, else `fine`."""
        rules = (*wrong, (True, "ok", fine))
        return next(cls(about, level, text) for is_met, level, text in rules if is_met)


def inspect_nodes(store: Client, settings: Settings) -> Iterator[Check]:
    """Yield what is right and wrong with each node that holds records."""
    skews: dict[str, float] = {}
    try:
        nodes = nodes_of(store)
    except redis.RedisError as error:
        yield Check("redis", "error", AWAY.format(type(error).__name__))
        return
    for client in nodes:
        place = client.connection_pool.connection_kwargs
        name = f"{place['host']}:{place['port']}" if len(nodes) > 1 else ""
        where = f"{name}: " if name else ""
        try:
            for each in (*_commands(client, settings), *_server(client, settings)):
                yield each._replace(text=where + each.text)
            before = time.time()
            seconds, microseconds = client.time()
            ahead = seconds + microseconds / 1e6 - (before + time.time()) / 2
            skews[name or "Redis"] = ahead  # give or take half a trip
        except (redis.AuthenticationError, redis.ResponseError):
            text = f"{where}refuses us; correct user, password or ACL in KEYTURN_REDIS_URL"
            yield Check("redis", "error", text)
        except redis.RedisError as error:
            yield Check("redis", "error", where + AWAY.format(type(error).__name__))
    if skews:
        # Each against this host's, and so against each other.
        apart = max(0.0, *skews.values()) - min(0.0, *skews.values())
        shown = ", ".join(f"{name} {skew:+.1f} s" for name, skew in skews.items())
        level = "error" if apart > WRONG_SKEW_SECONDS else "warning"
        text = f"{apart:.1f} s apart (beside this host's: {shown}); let NTP set all of them"
        fine = f"this host's and Redis's are {apart:.1f} s apart"
        yield Check.judge("clocks", fine, (apart > MAX_SKEW_SECONDS, level, text))


def inspect_keys(client: Client, secret_keys: tuple[str, ...]) -> Check:
    """Return whether the secret keys open what the store has sealed, without sealing anything."""
    known = set(client.hkeys(keys.SEAL))
    is_foreign = known and known.isdisjoint(map(key_id, secret_keys))
    fine = f"KEYTURN_SECRET_KEYS {'are those of' if known else 'will seal'} this Redis"
    new = "KEYTURN_SECRET_KEYS is not set; make a key with `openssl rand -hex 32`, and keep it"
    foreign = "KEYTURN_SECRET_KEYS are not those of this Redis; put its own behind: NEW,OLD"
    rules = ((not secret_keys, "error", new), (is_foreign, "error", foreign))
    return Check.judge("keys", fine, *rules)


def _commands(client: Client, settings: Settings) -> Iterator[Check]:
    is_whole, wanted = True, settings.durability.partition(":")[0]
    for command, level, durability in COMMANDS:
        if durability in ("", wanted):
            try:
                client.execute_command(*command)
            except redis.ResponseError:
                is_whole = False
                text = f"{command[0]} is refused; let the user of KEYTURN_REDIS_URL send it (ACL)"
                yield Check("commands", level, text)
    if is_whole:
        yield Check("commands", "ok", "nothing that Keyturn sends is refused")


def _server(client: Client, settings: Settings) -> Iterator[Check]:
    try:
        info: dict[str, Any] = client.info()
    except redis.ResponseError:
        return
    version = str(info.get("valkey_version") or info.get("redis_version", "0.0"))
    mode, is_replica = info.get("redis_mode", "standalone"), info.get("role") == "slave"
    name = "Valkey" if "valkey_version" in info else "Redis"
    shown = f"{name} {version}, {mode}, {'a replica' if is_replica else 'primary'}"
    is_named_alone = mode == "cluster" and "+cluster://" not in settings.redis_url.lower()
    is_old = tuple(map(int, re.findall(r"\d+", version)[:2])) < MIN_VERSION
    yield Check.judge(
        "redis",
        shown,
        (mode == "sentinel", "error", f"{shown}; name it as redis+sentinel://HOST,HOST/NAME"),
        (is_replica, "error", f"{shown}: it refuses writes; name the primary in KEYTURN_REDIS_URL"),
        (is_named_alone, "error", f"{shown}; name the cluster as redis+cluster://HOST,HOST"),
        (is_old, "error", f"{shown}: too old; Keyturn needs Redis 7.0, or Valkey"),
    )
    if mode != "sentinel":
        yield _judge_memory(info)
        yield _judge_persistence(client, info, settings.durability)
    level, _, number = settings.durability.partition(":")
    if level == "replica":
        found, wanted = int(info.get("connected_slaves", 0)), int(number or 1)
        few = (f"{found} connected, and callers get 503 until there are {wanted} "
               f"(KEYTURN_DURABILITY={settings.durability})")  # fmt: skip
        yield Check.judge("replicas", f"{found} connected", (found < wanted, "error", few))


def _judge_memory(info: Mapping[str, Any]) -> Check:
    limit, policy = info.get("maxmemory", 0), info.get("maxmemory_policy", "noeviction")
    ratio = info.get("used_memory", 0) / limit if limit else 0.0
    used = f"{ratio:.0%} of maxmemory is used" if limit else "maxmemory is not set"
    return Check.judge(
        "memory",
        f"{used}; noeviction",
        (policy != "noeviction", "error" if limit else "warning",
         f"maxmemory-policy is {policy}: full, Redis drops records; set it to noeviction"),
        (ratio > MAX_MEMORY_RATIO, "warning", f"{used}: full, Redis refuses resets; raise it"),
    )  # fmt: skip


def _judge_persistence(client: Client, info: Mapping[str, Any], durability: str) -> Check:
    fsync = "unknown"
    with suppress(redis.ResponseError):
        fsync = client.config_get("appendfsync").get("appendfsync", fsync)
    is_unwritten = info.get("aof_last_write_status", "ok") != "ok"
    return Check.judge(
        "persistence",
        f"an append-only file; appendfsync is {fsync}",
        (is_unwritten, "error", "the append-only file cannot be written; free the server's disk"),
        (not info.get("aof_enabled"), "error" if durability == "disk" else "warning",
         "there is no append-only file; set appendonly yes and appendfsync always"),
        (fsync not in ("always", "unknown"), "warning",
         f"appendfsync is {fsync}: a crash forgets seconds; set it to always"),
    )  # fmt: skip
