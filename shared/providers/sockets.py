"""Connections whose every wait ends at one deadline; the transports of all providers stand on it.

A plain socket timeout starts anew with each byte, so a server that drips keeps a thread for hours.
Here every connect, write and read gets only what is left of the call, which needs no watchdog.
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

_Address = tuple[Any, ...]


class Deadline:
    """The moment a call must have ended, on the monotonic clock."""

    __slots__ = ("_at",)

    def __init__(self, timeout_seconds: float) -> None:
        """`timeout_seconds` from now."""
        self._at = monotonic() + timeout_seconds

    def left_seconds(self) -> float:
        """What is left; always above 0, as a socket timeout must be.

        Raises:
            TimeoutError: nothing is left.
        """
        left = self._at - monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def capped(self, max_seconds: float) -> Deadline:
        """A deadline for one part of the call: in `max_seconds`, or with the call if sooner."""
        return Deadline(min(max_seconds, max(0.0, self._at - monotonic())))


class _DeadlineReader(io.RawIOBase):
    """Reads a line's socket; what http.client and smtplib call a file."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        sock = self._line.sock
        sock.settimeout(self._line.deadline.left_seconds())
        return sock.recv_into(buffer)


class Line:
    """A connected socket and the deadline of the call that uses it now.

    Has the three methods http.client and smtplib call on a socket: makefile, sendall, close.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        """Owns `sock` from now on."""
        self.sock = sock
        self.deadline = deadline

    def makefile(self, *_args: Any, **_kwargs: Any) -> io.BufferedReader:
        """What reads from the peer; closing it leaves the line open."""
        return io.BufferedReader(_DeadlineReader(self), READ_BUFFER_BYTES)

    def sendall(self, data: bytes) -> None:
        """Write everything.

        Raises:
            OSError: not everything was written; TimeoutError when the deadline came first.
        """
        view = memoryview(data)
        while view:
            self.sock.settimeout(self.deadline.left_seconds())
            view = view[self.sock.send(view) :]

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on encrypted; `host` is whom the certificate must name.

        Raises:
            OSError: no TLS with that peer (ssl.SSLError), or not in time.
        """
        self.sock.settimeout(self.deadline.left_seconds())
        self.sock = context.wrap_socket(self.sock, server_hostname=host)

    def is_quiet(self) -> bool:
        """True while the peer has neither closed an idle line nor said anything unasked."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """End the line; may be called again."""
        self.sock.close()

    def __del__(self) -> None:
        self.close()


@lru_cache(maxsize=8)
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """The one context of this process (building one costs 20 ms); it verifies, always.

    `ca_file` replaces the system's authorities.
    """
    return ssl.create_default_context(cafile=ca_file)


def dial(
    host: str,
    port: int,
    *,
    deadline: Deadline,
    tls: ssl.SSLContext | None,
    may_reach: Callable[[str], bool] | None = None,
) -> Line:
    """A new line to a provider; encrypted and verified when `tls` is given.

    `may_reach` judges each address the name has now; what it refuses is not connected to, and the
    name is not looked up again, so that it cannot mean something else a moment later.

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
        line = _connect(addresses, connecting)
        try:
            if tls is not None:
                line.start_tls(tls, host)
        except BaseException:
            line.close()
            raise
    except OSError as error:
        raise TransientProviderError(*_explain(error)) from error
    line.deadline = deadline
    return line


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


def _connect(addresses: list[_Address], deadline: Deadline) -> Line:
    """A line to the first address that answers; each gets its share of the time."""
    failure: OSError = socket.gaierror("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(deadline.left_seconds() / (len(addresses) - number))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return Line(sock, deadline)
    raise failure


class Resolver:
    """Looks names up in threads of their own, for getaddrinfo knows no timeout.

    Everybody who asks for the same name while it is being looked up waits for the same thread, so
    a dead name server holds one thread per name and not one per message.
    """

    def __init__(self, look_up: Callable[..., list[_Address]]) -> None:
        """`look_up(host, port, flags)` may take as long as it likes."""
        self._look_up = look_up
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[_Address]]] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[_Address]:
        """Raises OSError: unknown, or not known in time."""
        try:
            return self._look_up(host, port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            return self._answer(host, port).result(timeout=deadline.left_seconds())

    def _answer(self, host: str, port: int) -> Future[list[_Address]]:
        with self._lock:
            known = self._under_way.get((host, port))
            if known is not None:
                return known
            answer = self._under_way[host, port] = Future()
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
            del self._under_way[host, port]


def _look_up(host: str, port: int, flags: int) -> list[_Address]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))


_resolver = Resolver(_look_up)
