"""HTTP to the providers: keep-alive connections, one deadline per call, no retries.

`http.client` parses the answers over our own sockets: at 64 threads with TLS this costs a third
to half of the CPU time of urllib3 and a sixth of requests (see bench/). The pool hands out the
connection used last, so that surplus ones grow old and are dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from shared.errors import DoubtfulProviderError, TransientProviderError
from shared.providers.transport.sockets import Connection, Deadline, connect, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from email.message import Message

FINAL_STATUS = 200
MAX_ANSWER_BYTES = 1024 * 1024
# Load balancers close idle connections after 60 s or more; we close first.
MAX_IDLE_SECONDS = 50.0
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a provider answered; status and headers arrived in full."""

    status: int
    headers: Message
    body: bytes
    is_complete: bool  # False when the body was cut, dripped past the deadline or was too large
    waited_seconds: float  # from the last byte written to the last header read


class Transport:
    """Calls to one provider, from any number of threads."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        tls: ssl.SSLContext | None = None,
        may_reach: Callable[[str], bool] | None = None,
    ) -> None:
        """`base_url` is scheme, host and port; `tls` is for tests with their own authority.

        `may_reach` judges the network addresses its name has, at each new connection.
        """
        self._may_reach = may_reach
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._tls = (tls or tls_context()) if parts.scheme == "https" else None
        self._timeout_seconds = timeout_seconds
        self._prefix = f" HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        self._idle: deque[tuple[Connection, float]] = deque()
        self._lock = threading.Lock()

    def call(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> HttpAnswer:
        """Send one request, once; follow no redirect.

        Raises:
            TransientProviderError: the request was not written in full.
            DoubtfulProviderError: it was, and no status with its headers came back in time.
        """
        request = self._format_request(method, target, headers, body)
        connection = self._acquire(Deadline(self._timeout_seconds))
        try:
            _write(connection, request)
            answer, is_reusable = _read(connection, method)
        except BaseException:
            connection.close()
            raise
        if is_reusable:
            self._release(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            while self._idle:
                self._idle.pop()[0].close()

    def _format_request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise ValueError("a header's value must be one line")
        head = f"{method} {target}{self._prefix}{lines}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("ascii") + body

    def _acquire(self, deadline: Deadline) -> Connection:
        """Return an idle connection the peer has not closed, else a new one."""
        while True:
            with self._lock:
                connection, idle_since = self._idle.pop() if self._idle else (None, 0.0)
            if connection is None:
                return connect(
                    self._host,
                    self._port,
                    deadline=deadline,
                    tls=self._tls,
                    may_reach=self._may_reach,
                )
            if monotonic() - idle_since < MAX_IDLE_SECONDS and connection.is_reusable():
                connection.deadline = deadline
                return connection
            connection.close()

    def _release(self, connection: Connection) -> None:
        now = monotonic()
        with self._lock:
            self._idle.append((connection, now))
            while now - self._idle[0][1] > MAX_IDLE_SECONDS:
                self._idle.popleft()[0].close()


def _write(connection: Connection, request: bytes) -> None:
    try:
        connection.sendall(request)
    except OSError as error:
        reason = "write_timeout" if isinstance(error, TimeoutError) else "write_cut"
        raise TransientProviderError(
            reason, "the request could not be written in full, so it was not taken"
        ) from error


def _read(connection: Connection, method: str) -> tuple[HttpAnswer, bool]:
    """Return the answer, and whether the connection may be used again."""
    written_at = monotonic()
    # http.client calls only makefile() of its socket.
    response = HTTPResponse(cast("Any", connection), method=method)
    try:
        response.begin()
    except OSError as error:
        reason = "answer_timeout" if isinstance(error, TimeoutError) else "answer_cut"
        raise DoubtfulProviderError(
            reason, "the request was written in full and no answer came back"
        ) from error
    except HTTPException:
        # The cause would repeat what the provider wrote, and that may name the recipient.
        raise DoubtfulProviderError(
            "answer_garbage", "the request was written in full and the answer is not HTTP"
        ) from None
    waited_seconds = monotonic() - written_at
    body, is_complete = _read_body(response)
    answer = HttpAnswer(response.status, response.headers, body, is_complete, waited_seconds)
    # After an interim status (103, say) the final answer is still to come on this connection.
    is_reusable = is_complete and not response.will_close and response.status >= FINAL_STATUS
    return answer, is_reusable


def _read_body(response: HTTPResponse) -> tuple[bytes, bool]:
    try:
        body = response.read(MAX_ANSWER_BYTES + 1)
    except (OSError, HTTPException):
        return b"", False
    ends_with_connection = response.length is None and not response.chunked
    is_whole = len(body) <= MAX_ANSWER_BYTES and (response.isclosed() or ends_with_connection)
    return body, is_whole
