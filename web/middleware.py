"""Handle every request: request id, size and time limit of the body, response headers, span."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote

from flask import Flask, Response, current_app, g, request
from werkzeug.wrappers import Request

from shared import tracing
from shared.errors import BodyTooLargeError, InvalidRequestError, TooManyRequestsError
from shared.tracing import Span, bind_request_id
from web.http import client_source, current_services

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SPAN_KEY = "keyturn.span"  # in the environ
UNTRACED_PATHS = ("/livez", "/readyz", "/metrics")  # polled by machines
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

API_PATHS = (
    "/management/",
    "/users/",
    "/v2/",
    "/keyturn/",
    "/zitadel.",
    "/.well-known/",
    "/openapi.json",
)
ALLOWED_HEADERS = (
    "Accept, Accept-Language, Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, "
    "Content-Encoding, Content-Type, Grpc-Encoding, Grpc-Timeout, Idempotency-Key, X-Grpc-Web, "
    "X-Request-Id, X-User-Agent, X-Zitadel-Orgid"
)
EXPOSED_HEADERS = (
    "Deprecation, Grpc-Message, Grpc-Status, Grpc-Status-Details-Bin, Keyturn-Reset-Id, Link, "
    "Location, Retry-After, WWW-Authenticate, X-Request-Id"
)
PREFLIGHT_SECONDS = 7200

BODY_SECONDS = 10.0
GRACE_SECONDS = 0.25  # a body that takes longer counts as slow
MAX_SLOW = 8  # slow bodies at a time
MAX_READERS = 256  # threads that wait for bodies; beyond that callers get 429
MAX_READ_BYTES = 1 << 20  # granian allocates the size it is asked for
MAX_BODY_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
UPLOAD_SECONDS = 600.0
VISIBLE_ASCII = re.compile(r"[!-~]{1,128}")
V1_PATH = re.compile(r"(?:/management/v1)?/users/([^/]+)/password/_reset")
# RFC 9745: the date from which the call is deprecated; ZITADEL deprecated v1 on it.
DEPRECATED_SINCE = "@1735689600"


def set_up_requests(app: Flask) -> None:
    """Give every request an id, and every response its headers."""
    app.before_request(_assign_request_id)
    app.after_request(_finish_response)


def assign_request_id(header: str | None, *, source: str | None = None) -> str:
    """Bind the request id to the logs and return it: the caller's if valid, else a new one.

    `source`: where the request comes from, as logs and the audit trail show it.
    """
    request_id = header if header and VISIBLE_ASCII.fullmatch(header) else secrets.token_hex(8)
    bind_request_id(request_id, source=source)
    return request_id


def _assign_request_id() -> None:
    source = client_source().shown(current_services().settings.log_addresses)
    g.request_id = assign_request_id(request.headers.get("X-Request-Id"), source=source)


def _finish_response(response: Response) -> Response:
    span: Span | None = request.environ.get(SPAN_KEY)
    if span is not None and request.url_rule is not None:
        span.update_name(f"{request.method} {request.url_rule.rule}")
        span.set_attribute("http.route", request.url_rule.rule)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if match := V1_PATH.fullmatch(request.path):
        base = current_app.extensions["keyturn"].settings.link_base
        successor = f"{base}/v2/users/{quote(match[1], safe='')}/password_reset"
        response.headers["Deprecation"] = DEPRECATED_SINCE
        response.headers["Link"] = f'<{successor}>; rel="successor-version"'
    return response


def traced(app: WSGIApplication) -> WSGIApplication:
    """Wrap an application: each request has a span, which continues the caller's trace."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not tracing.is_tracing() or environ.get("PATH_INFO") in UNTRACED_PATHS:
            return app(environ, start_response)
        method = environ.get("REQUEST_METHOD", "")
        name = method if method in METHODS else "HTTP"
        with tracing.span(
            name, parent=environ.get("HTTP_TRACEPARENT"), kind=tracing.SpanKind.SERVER
        ) as span:
            environ[SPAN_KEY] = span

            def start(status: str, *more: Any) -> Any:
                code = int(status[:3])
                span.set_attributes(
                    {"http.request.method": name, "http.response.status_code": code}
                )
                return start_response(status, *more)

            return app(environ, start)

    return application


def with_cors(app: WSGIApplication, origins: tuple[str, ...]) -> WSGIApplication:
    """Wrap an application: scripts of these origins may call the API; `*` is any origin.

    Callers are known by a token, not a cookie, so credentials are never allowed. The pages, the
    callbacks and what machines poll are not for scripts of other sites.

    Source: https://fetch.spec.whatwg.org/#http-cors-protocol
    """

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, origin = environ.get("PATH_INFO", ""), environ.get("HTTP_ORIGIN")
        allowed = "*" if "*" in origins else origin if origin in origins else None
        if allowed is None or not path.startswith(API_PATHS):
            return app(environ, start_response)
        headers = [("Access-Control-Allow-Origin", allowed)]
        if allowed != "*":
            headers.append(("Vary", "Origin"))
        method = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        if environ.get("REQUEST_METHOD") == "OPTIONS" and method is not None:
            headers += [("Access-Control-Allow-Methods", method)] if method in METHODS else []
            headers.append(("Access-Control-Allow-Headers", ALLOWED_HEADERS))
            headers.append(("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)))
            start_response("204 No Content", headers)
            return []

        def start(status: str, given: list[tuple[str, str]], *more: Any) -> Any:
            exposed = ("Access-Control-Expose-Headers", EXPOSED_HEADERS)
            return start_response(status, [*given, *headers, exposed], *more)

        return app(environ, start)

    return application


def read_capped_body(source: Request | None = None, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a request, by default Flask's current one.

    Raises:
        BodyTooLargeError: the body or its Content-Length exceeds `max_bytes`.
        InvalidRequestError: the body is shorter than its Content-Length.
    """
    source = source or request
    length = source.content_length
    if length is not None and length > max_bytes:
        raise BodyTooLargeError
    if length is None and "Transfer-Encoding" not in source.headers:
        return b""
    stream = source.environ["wsgi.input"]
    body = _read(stream, max_bytes + 1 if length is None else length)
    if len(body) > max_bytes:
        raise BodyTooLargeError
    if length is not None and len(body) < length:
        raise InvalidRequestError("the body is shorter than Content-Length says")
    return body


def read_chunks(*, max_seconds: float = UPLOAD_SECONDS) -> Iterator[bytes]:
    """Yield a large body in chunks; each must arrive within BODY_SECONDS.

    Raises:
        InvalidRequestError: the body stalled, broke off, or took too long in all.
    """
    if request.content_length is None and "Transfer-Encoding" not in request.headers:
        return
    stream, until = request.environ["wsgi.input"], time.monotonic() + max_seconds
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
        if time.monotonic() > until:
            raise InvalidRequestError("the body did not arrive in time")
        if isinstance(stream, TimedBody):
            stream.extend_deadline(BODY_SECONDS)


def _read(stream: BinaryIO, max_bytes: int) -> bytes:
    """Read up to `max_bytes`; a read may return fewer bytes than it was asked for."""
    chunks, missing = [], max_bytes
    while missing > 0 and (chunk := stream.read(missing)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def with_body_timeout(
    app: WSGIApplication, *, seconds: float = BODY_SECONDS, readers: BodyReaders | None = None
) -> WSGIApplication:
    """Wrap an application: reading a body that is late or incomplete raises an error."""
    body_readers = readers or BodyReaders()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        if length or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = TimedBody(
                environ["wsgi.input"],
                body_readers,
                length_bytes=int(length) if length else None,
                seconds=seconds,
            )
        return app(environ, start_response)

    return application


class _Input(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class BodyReaders:
    """Threads that read bodies, so that a request can stop waiting for its own.

    A stalled body keeps its reader thread until the connection ends, but not the request's thread.
    """

    def __init__(self, *, max_threads: int = MAX_READERS, max_slow: int = MAX_SLOW) -> None:
        """`max_slow` requests may wait for a slow body; it must be less than the web threads."""
        self._max_threads = max_threads
        self._slow = threading.BoundedSemaphore(max_slow)
        self._jobs: SimpleQueue[_Read] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def read(self, source: _Input, size: int, timeout_seconds: float) -> bytes:
        """Return `source.read(size)`.

        Raises:
            InvalidRequestError: the timeout passed.
            TooManyRequestsError: too many bodies are slow or being read.
        """
        job = _Read(source, size)
        self._take_thread()
        self._jobs.put(job)
        self._wait(job, max(0.0, timeout_seconds))
        if job.error is not None:
            raise InvalidRequestError("the body could not be read") from job.error
        return job.result

    def _wait(self, job: _Read, timeout_seconds: float) -> None:
        grace_seconds = min(GRACE_SECONDS, timeout_seconds)
        if job.done.acquire(timeout=grace_seconds):
            return
        if not self._slow.acquire(blocking=False):
            raise TooManyRequestsError("slow bodies", retry_after_seconds=10)
        try:
            if not job.done.acquire(timeout=timeout_seconds - grace_seconds):
                raise InvalidRequestError("the body did not arrive in time")
        finally:
            self._slow.release()

    def _take_thread(self) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
                return
            if self._started >= self._max_threads:
                raise TooManyRequestsError("slow bodies", retry_after_seconds=10)
            self._started += 1
        threading.Thread(target=self._work, name="body-reader", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get().run()
            with self._lock:
                self._idle += 1


class _Read:
    def __init__(self, source: _Input, size: int) -> None:
        self.source = source
        self.size = size
        self.result = b""
        self.error: OSError | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.result = self.source.read(self.size)
        except OSError as error:
            self.error = error
        self.done.release()


class TimedBody:
    """A request's body as a file; every read may raise InvalidRequestError.

    It is raised if the body does not arrive within `seconds`, or ends before the Content-Length.
    """

    def __init__(
        self, source: _Input, readers: BodyReaders, *, length_bytes: int | None, seconds: float
    ) -> None:
        self._source = source
        self._readers = readers
        self._missing_bytes = length_bytes
        self._deadline = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all if it is negative; return empty bytes at the end."""
        if self._missing_bytes == 0 or size == 0:
            return b""
        size_bytes = MAX_READ_BYTES + 1 if size is None or size < 0 else size
        data = self._readers.read(self._source, size_bytes, self._deadline - time.monotonic())
        self._count(len(data), size_bytes)
        return data

    def extend_deadline(self, seconds: float) -> None:
        """Allow so many seconds from now on."""
        self._deadline = time.monotonic() + seconds

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read one line; simple rather than fast, because we never read lines."""
        line = b""
        while not line.endswith(b"\n") and len(line) != size and (byte := self.read(1)):
            line += byte
        return line

    def readlines(self, _hint: int | None = -1, /) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _count(self, got_bytes: int, size_bytes: int) -> None:
        if self._missing_bytes is None:
            return
        self._missing_bytes -= got_bytes
        if self._missing_bytes > 0 and got_bytes < size_bytes:
            raise InvalidRequestError("the body is shorter than Content-Length says")
