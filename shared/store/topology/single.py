"""One server: a client that fails fast, sends each command at most once; its failures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, TypeAlias

import redis
from hiredis import pack_command

from shared.errors import StoreUnavailableError

# A redis.Redis that decodes replies; its own types do not know that they are str then.
Client: TypeAlias = Any
PROBE_PAUSE_SECONDS = 0.05
RECENT_SECONDS = 1.0  # a connection idle for longer may have been closed: redis-py checks it


class StoreRedis(redis.Redis):
    """A redis.Redis whose single commands reuse a connection used a moment ago, unchecked.

    redis-py's own bookkeeping and checks around each command cost a request a fifth of its
    processor time (docs/performance.md). Pipelines are redis-py's own.
    """

    has_one_node = True

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; return what redis-py makes of the reply."""
        pool: Any = self.connection_pool
        packed = [pack_command((*str(args[0]).split(), *args[1:]))]
        connection = pool.take_recent() or pool.get_connection()
        try:
            try:
                connection.send_packed_command(packed)
            except redis.ConnectionError:
                # Closed before it took the whole command, which therefore did not run.
                pool.release_recent()  # the others may be closed as well: redis-py checks them
                connection.send_packed_command(packed)
            reply = self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            pool.keep_recent(connection)
            raise
        except BaseException:
            connection.disconnect()
            pool.release(connection)
            pool.release_recent()
            raise
        pool.keep_recent(connection)
        return reply


class FailFastPool(redis.ConnectionPool):
    """A pool that refuses callers at once while the server does not answer.

    A reply that does not come in time trips the pool. Until the server answers again, a thread
    probes it with a PING; callers are refused, so that their waits do not add up.
    """

    def __init__(
        self, connection_class: type[Any] = redis.Connection, *args: Any, **options: Any
    ) -> None:
        """Take what redis.ConnectionPool takes."""
        reporting = _reporting_timeouts(connection_class, self._trip)
        super().__init__(reporting, *args, **options)

    def reset(self) -> None:
        """Begin anew, without connections, as a forked process does."""
        super().reset()
        self._is_tripped = self._is_closed = False
        self._probing = Lock()
        self._recent: deque[tuple[Any, float]] = deque()

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002
        """Close all connections, or those that are idle; if all, stop probing."""
        if inuse_connections:
            self._is_closed, self._is_tripped = True, False
        super().disconnect(inuse_connections)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is ready.

        Raises:
            redis.RedisError: the server does not answer.
        """
        if self._is_tripped:
            raise redis.ConnectionError("the server did not answer a moment ago")
        self._is_closed = False
        try:
            return super().get_connection(*args, **options)
        except redis.TimeoutError:
            self._trip()
            raise

    def take_recent(self) -> Any:
        """Return the connection used last, or None if there is none that can be trusted."""
        try:
            connection, used_at = self._recent.pop()
        except IndexError:
            return None
        age = monotonic() - used_at
        if age < RECENT_SECONDS and not self._is_tripped and connection.pid == os.getpid():
            return connection
        self.release(connection)
        return None

    def keep_recent(self, connection: Any) -> None:
        """Keep a connection whose reply was read; redis-py goes on counting it as in use."""
        self._recent.append((connection, monotonic()))

    def release_recent(self) -> None:
        """Give the connections used a moment ago back to redis-py."""
        with suppress(IndexError):
            while True:
                self.release(self._recent.pop()[0])

    def _trip(self) -> None:
        self._is_tripped = not self._is_closed
        if self._is_tripped and self._probing.acquire(blocking=False):
            Thread(target=self._probe, name="probe", daemon=True).start()

    def _probe(self) -> None:
        """Send PING until the server answers, or refuses to: callers need not wait for that."""
        try:
            while self._is_tripped:
                sleep(PROBE_PAUSE_SECONDS)
                with suppress(redis.TimeoutError):
                    self._ping()
                    self._is_tripped = False
        except redis.RedisError:
            self._is_tripped = False
        finally:
            self._probing.release()

    def _ping(self) -> None:
        connection: Any = super().get_connection()
        try:
            connection.send_command("PING")
            connection.read_response()
        except redis.RedisError:
            connection.disconnect()
            raise
        finally:
            self.release(connection)


def _reporting_timeouts(connection_class: type[Any], report: Callable[[], None]) -> type[Any]:
    """Return a kind of connection that reports when the server does not take or answer in time."""

    class ReportingConnection(connection_class):  # type: ignore[misc]
        def send_packed_command(self, *args: Any, **options: Any) -> Any:
            try:
                return super().send_packed_command(*args, **options)
            except redis.TimeoutError:
                report()
                raise

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except redis.TimeoutError:
                report()
                raise

    return ReportingConnection


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError from error


def none_exists(client: Client, names: Sequence[str]) -> bool:
    """Return True if none of these keys exists; False for a cluster, which is not asked."""
    with store_errors():
        return getattr(client, "has_one_node", True) and not client.exists(*names)


def time_ms(client: Client) -> int:
    """Return the time by Redis's clock; by a cluster's, that of the gate's node."""
    with store_errors():
        seconds, microseconds = client.time()
    return int(seconds * 1000 + microseconds // 1000)
