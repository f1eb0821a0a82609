"""What must have happened to a write before anybody is told of it: nothing more, WAIT, WAITAOF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import redis
import structlog

from shared.errors import SettingsError
from shared.store.connection import TIMEOUT_SECONDS, Client

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
