"""The connection to Redis and the one translation of its failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Any, TypeAlias

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import StoreUnavailableError

TRUSTED_IDLE_SECONDS = 0.5  # a connection that rested longer may have been closed by the server


class FailFastPool(redis.ConnectionPool):
    """Connections; while the server keeps people waiting, one asks whether it is back.

    The others are refused at once: they may have queued already, and waits must not add up.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """As redis.ConnectionPool."""
        super().__init__(*args, **options)
        self.is_doubtful = False
        self._asking = Lock()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is ready.

        Raises:
            redis.ConnectionError: the server does not answer, or somebody else is asking it.
        """
        if not self.is_doubtful:
            try:
                return super().get_connection(*args, **options)
            except redis.TimeoutError:
                self.doubt()
                raise
        if not self._asking.acquire(blocking=False):
            raise redis.ConnectionError("the server did not answer a moment ago")
        try:
            connection = super().get_connection(*args, **options)
            self._ask(connection)
        finally:
            self._asking.release()
        return connection

    def _ask(self, connection: Any) -> None:
        try:
            connection.send_command("PING")
            connection.read_response()
        except redis.RedisError:
            connection.disconnect()
            self.release(connection)
            raise
        self.is_doubtful = False

    def doubt(self) -> None:
        """The server kept somebody waiting for too long."""
        self.is_doubtful = True


class Packer:
    """Spells commands; the library's own looks at every argument first, which costs as much."""

    def pack(self, *args: Any) -> list[bytes]:
        """The bytes of a command whose arguments are texts, bytes and numbers."""
        if " " in args[0]:
            args = (*args[0].split(), *args[1:])
        try:
            return [hiredis.pack_command(args)]
        except TypeError as error:
            raise redis.DataError("a command takes texts, bytes and numbers") from error


def noticing(kind: Any, pool: FailFastPool) -> Any:
    """A kind of connection that tells the pool when a reply does not come in time."""

    class NoticingConnection(kind):  # type: ignore[misc]
        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except redis.TimeoutError:
                pool.doubt()
                raise

    return NoticingConnection


class LeanRedis(redis.Redis):
    """A redis.Redis whose single commands pass by the pool's bookkeeping and the retry machinery.

    Each costs half as much (bench/accept.py). Pipelines, and everything while the server is in
    doubt, are the library's own.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """As redis.Redis; the pool is a FailFastPool."""
        super().__init__(*args, **options)
        self._idle: deque[tuple[Any, float]] = deque()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """What the server answers; a connection that failed is not used again."""
        pool: Any = self.connection_pool
        if pool.is_doubtful:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        connection = self._take_connection(pool)
        try:
            _send(connection, args)
            answer = self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            self._idle.append((connection, monotonic()))
            raise
        except BaseException as error:
            connection.disconnect()
            if isinstance(error, redis.TimeoutError):
                pool.doubt()
            raise
        self._idle.append((connection, monotonic()))
        return answer

    def execute_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the server answers to each of several commands, in one trip.

        Raises:
            redis.RedisError: one of them failed, or the server does not answer.
        """
        pool: Any = self.connection_pool
        if pool.is_doubtful:
            return _run_pipeline(self, commands)
        connection = self._take_connection(pool)
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            answers = [connection.read_response() for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append((connection, monotonic()))
        return answers

    def close(self) -> None:
        """Let go of every connection."""
        while self._idle:
            self._idle.pop()[0].disconnect()
        super().close()

    def _take_connection(self, pool: Any) -> Any:
        """The connection used last, for its turn came a moment ago; else a new one."""
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return pool.connection_class(**pool.connection_kwargs)
        if monotonic() - since > TRUSTED_IDLE_SECONDS and _has_news(connection):
            connection.disconnect()
        return connection


def run_all(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What the server answers to each command, in one trip; `client` may be a fake one."""
    if isinstance(client, LeanRedis):
        return client.execute_all(commands)
    return _run_pipeline(client, commands)


def _run_pipeline(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = pipeline.execute()
    return answers


def _send(connection: Any, command: tuple[Any, ...]) -> None:
    """Write a command. What a closed connection did not take was not run: it goes to a new one."""
    was_open = connection.is_connected
    try:
        connection.send_command(*command, check_health=False)
    except redis.TimeoutError:
        raise
    except redis.ConnectionError:
        if not was_open:
            raise
        connection.send_command(*command, check_health=False)


def _has_news(connection: Any) -> bool:
    """True when the server closed the connection, or said what nobody asked for."""
    try:
        return bool(connection.can_read())
    except (redis.RedisError, OSError):
        return True


# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
TIMEOUT_SECONDS = 1.5  # a frozen server costs a caller this much, then 503


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """A client that never waits longer than its timeout and never repeats a command by itself.

    A command whose reply was lost may have run; only the caller of the store knows whether to
    ask again (RECORD may be repeated, CLAIM may not).
    """
    pool = FailFastPool.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        command_packer=Packer(),
    )
    pool.connection_class = noticing(pool.connection_class, pool)
    return LeanRedis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis fails with into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error
