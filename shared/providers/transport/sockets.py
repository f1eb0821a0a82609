"""Sockets with one deadline for the whole call; HTTP and SMTP to providers use them.

A plain socket timeout starts anew with each byte, so a slow server could keep a thread for hours.
Here every connect, write and read gets only the time left of the call.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import threading
from concurrent.futures import Future
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.errors import TransientProviderError

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_SECONDS = 3.0  # name, TCP and TLS together
READ_BUFFER_BYTES = 16384
MAX_READ_BYTES = 4 * 1024 * 1024  # of one call: smtplib keeps all lines of a reply

_Address = tuple[Any, ...]


class Deadline:
    """When a call must have ended, on the monotonic clock."""

    __slots__ = ("_at",)

    def __init__(self, timeout_seconds: float) -> None:
        """`timeout_seconds` from now."""
        self._at = monotonic() + timeout_seconds

    def remaining_seconds(self) -> float:
        """Return the time left, always above 0, as a socket timeout must be.

        Raises:
            TimeoutError: no time is left.
        """
        remaining = self._at - monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def capped(self, max_seconds: float) -> Deadline:
        """Return a deadline for one part of the call: in `max_seconds`, or the call's if sooner."""
        return Deadline(min(max_seconds, max(0.0, self._at - monotonic())))


class _DeadlineReader(io.RawIOBase):
    """The file object http.client and smtplib read from."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._bytes_left = connection, MAX_READ_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        sock = self._connection.sock
        sock.settimeout(self._connection.deadline.remaining_seconds())
        number = sock.recv_into(buffer)
        self._bytes_left -= number
        if self._bytes_left < 0:
            raise OSError("the peer sends without an end")
        return number


class Connection:
    """A connected socket and the deadline of the call that uses it now.

    Has the three methods http.client and smtplib call on a socket: makefile, sendall, close.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        """Take over `sock`."""
        self.sock = sock
        self.deadline = deadline

    def makefile(self, *_args: Any, **_kwargs: Any) -> io.BufferedReader:
        """Return a reader; closing it leaves the connection open."""
        return io.BufferedReader(_DeadlineReader(self), READ_BUFFER_BYTES)

    def sendall(self, data: bytes) -> None:
        """Write everything.

        Raises:
            OSError: not everything was written; TimeoutError when the deadline came first.
        """
        view = memoryview(data)
        while view:
            self.sock.settimeout(self.deadline.remaining_seconds())
            view = view[self.sock.send(view) :]

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt from now on; the certificate must name `host`.

        Raises:
            OSError: the handshake failed (ssl.SSLError), or took too long.
        """
        self.sock.settimeout(self.deadline.remaining_seconds())
        self.sock = context.wrap_socket(self.sock, server_hostname=host)

    def is_reusable(self) -> bool:
        """Return True if the peer has neither closed nor sent anything while this was idle."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self.sock.close()

    def __del__(self) -> None:
        self.close()


@lru_cache(maxsize=8)
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return the context of this process, which verifies; building one costs 20 ms.

    `ca_file` replaces the system's authorities.
    """
    return ssl.create_default_context(cafile=ca_file)


def connect(
    host: str,
    port: int,
    *,
    deadline: Deadline,
    tls: ssl.SSLContext | None,
    may_reach: Callable[[str], bool] | None = None,
) -> Connection:
    """Connect to a provider; encrypted and verified when `tls` is given.

    `may_reach` judges each address the name has now. The name is not resolved a second time, so
    that it cannot lead to another address after the check (DNS rebinding).

    Raises:
        TransientProviderError: nothing was sent: connect_dns, _refused, _timeout, _tls, _failed,
            _forbidden.
    """
    connecting = deadline.capped(CONNECT_TIMEOUT_SECONDS)
    try:
        addresses = _resolver.addresses(host, port, connecting)
        if may_reach is not None:
            addresses = [each for each in addresses if may_reach(each[4][0])]
            if not addresses:
                raise TransientProviderError(
                    "connect_forbidden", "the name leads to no address that may be connected to"
                )
        connection = _connect_any(addresses, connecting)
        try:
            if tls is not None:
                connection.start_tls(tls, host)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise TransientProviderError(*_explain(error)) from error
    connection.deadline = deadline
    return connection


def _explain(error: OSError) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return "connect_timeout", "no connection to the provider in time; nothing was sent"
    if isinstance(error, socket.gaierror):
        return "connect_dns", "the provider's name cannot be resolved; nothing was sent"
    if isinstance(error, ssl.SSLError):
        return "connect_tls", "no verified TLS with the provider; nothing was sent"
    if isinstance(error, ConnectionRefusedError):
        return "connect_refused", "the provider refused the connection; nothing was sent"
    return "connect_failed", "the provider cannot be reached; nothing was sent"


def _connect_any(addresses: list[_Address], deadline: Deadline) -> Connection:
    """Connect to the first address that answers; each gets its share of the time."""
    failure: OSError = socket.gaierror("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(deadline.remaining_seconds() / (len(addresses) - number))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return Connection(sock, deadline)
    raise failure


class Resolver:
    """Resolves names in threads of their own, because getaddrinfo has no timeout.

    All callers that want the same name at the same time wait for one thread, so a name server
    that is down holds one thread per name, not one per message.
    """

    def __init__(self, look_up: Callable[..., list[_Address]]) -> None:
        """`look_up(host, port, flags)` may take as long as it likes."""
        self._look_up = look_up
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[list[_Address]]] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[_Address]:
        """Resolve a name.

        Raises:
            OSError: unknown, or not resolved in time.
        """
        try:
            return self._look_up(host, port, socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):  # UnicodeError: no name, for a label is too long
            return self._answer(host, port).result(timeout=deadline.remaining_seconds())

    def _answer(self, host: str, port: int) -> Future[list[_Address]]:
        with self._lock:
            pending = self._pending.get((host, port))
            if pending is not None:
                return pending
            answer = self._pending[host, port] = Future()
        threading.Thread(target=self._resolve, args=(host, port, answer), daemon=True).start()
        return answer

    def _resolve(self, host: str, port: int, answer: Future[list[_Address]]) -> None:
        try:
            answer.set_result(self._look_up(host, port, 0))
        except OSError as error:
            answer.set_exception(error)
        except UnicodeError:
            answer.set_exception(socket.gaierror("not a host name"))
        with self._lock:
            del self._pending[host, port]


def _look_up(host: str, port: int, flags: int) -> list[_Address]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))


_resolver = Resolver(_look_up)
