"""Handle every request: request id, size and time limit of the body, response headers, span."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote

from flask import Flask, Response, current_app, g, request
from werkzeug.wrappers import Request

from shared import tracing
from shared.errors import BodyTooLargeError, InvalidRequestError, TooManyRequestsError
from shared.tracing import Span, bind_request_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLACE = "keyturn.span"
QUIET = ("/livez", "/readyz", "/metrics")  # asked all day by machines
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def traced(app: WSGIApplication) -> WSGIApplication:
    """The application, each request in a span that goes on with the caller's trace."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not tracing.is_tracing() or environ.get("PATH_INFO") in QUIET:
            return app(environ, start_response)
        method = environ.get("REQUEST_METHOD", "")
        name = method if method in METHODS else "HTTP"
        with tracing.span(
            name, parent=environ.get("HTTP_TRACEPARENT"), kind=tracing.SpanKind.SERVER
        ) as here:
            environ[PLACE] = here

            def start(status: str, *more: Any) -> Any:
                code = int(status[:3])
                here.set_attributes(
                    {"http.request.method": name, "http.response.status_code": code}
                )
                return start_response(status, *more)

            return app(environ, start)

    return application


def name_by_route() -> None:
    """Name the span of Flask's request by its route."""
    here: Span | None = request.environ.get(PLACE)
    if here is not None and request.url_rule is not None:
        here.update_name(f"{request.method} {request.url_rule.rule}")
        here.set_attribute("http.route", request.url_rule.rule)


BODY_SECONDS = 10.0
GRACE_SECONDS = 0.25  # a body that takes longer is slow, and only so many may be
MAX_SLOW = 8
MAX_READERS = 256  # threads waiting for slow bodies at a time, beyond that callers get 503
WHOLE_BYTES = 1 << 20  # granian gathers what it is asked for; more is nobody's business


class _Input(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class BodyReaders:
    """Threads that wait for bodies, so that a request can stop waiting for its own.

    A body that stalls keeps its thread until the connection ends; the request does not.
    """

    def __init__(self, *, most: int = MAX_READERS, max_slow: int = MAX_SLOW) -> None:
        """`max_slow` requests may wait long; fewer than there are threads that work on them."""
        self._most = most
        self._slow = threading.BoundedSemaphore(max_slow)
        self._jobs: SimpleQueue[_Read] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def read(self, source: _Input, size: int, timeout_seconds: float) -> bytes:
        """What `source.read(size)` gives.

        Raises:
            InvalidRequestError: it took longer than the timeout.
            TooManyRequestsError: too many bodies are slow, or being waited for.
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
            if self._started >= self._most:
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
    """A request's body, a file to read from.

    Raises:
        InvalidRequestError: the whole of it did not arrive within its seconds, or it ended
            before the Content-Length.
    """

    def __init__(
        self, source: _Input, readers: BodyReaders, *, length_bytes: int | None, seconds: float
    ) -> None:
        self._source = source
        self._readers = readers
        self._missing_bytes = length_bytes
        self._deadline = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, all when it is negative; empty at the end."""
        if self._missing_bytes == 0 or size == 0:
            return b""
        wanted = WHOLE_BYTES + 1 if size is None or size < 0 else size
        data = self._readers.read(self._source, wanted, self._deadline - time.monotonic())
        self._count(len(data), wanted)
        return data

    def give_time(self, seconds: float) -> None:
        """Count the seconds anew: of a body that is read piece by piece."""
        self._deadline = time.monotonic() + seconds

    def readline(self, size: int | None = -1, /) -> bytes:
        """One line; nobody here reads lines, so it is simple and not fast."""
        line = b""
        while not line.endswith(b"\n") and len(line) != size and (byte := self.read(1)):
            line += byte
        return line

    def readlines(self, _hint: int | None = -1, /) -> list[bytes]:
        """All lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _count(self, got_bytes: int, wanted_bytes: int) -> None:
        if self._missing_bytes is None:
            return
        self._missing_bytes -= got_bytes
        if self._missing_bytes > 0 and got_bytes < wanted_bytes:
            raise InvalidRequestError("the body is shorter than Content-Length says")


def bodies_that_end(
    app: WSGIApplication, *, seconds: float = BODY_SECONDS, readers: BodyReaders | None = None
) -> WSGIApplication:
    """An application whose requests' bodies arrive whole and in time, or raise when read."""
    waiting = readers or BodyReaders()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        if length or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = TimedBody(
                environ["wsgi.input"],
                waiting,
                length_bytes=int(length) if length else None,
                seconds=seconds,
            )
        return app(environ, start_response)

    return application


MAX_BODY_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
UPLOAD_SECONDS = 600.0
VISIBLE_ASCII = re.compile(r"[!-~]{1,128}")
V1_PATH = re.compile(r"(?:/management/v1)?/users/([^/]+)/password/_reset")
# RFC 9745: the date from which the call is deprecated; the value is fixed by SPEC.
DEPRECATED_SINCE = "@1735689600"


def set_up_requests(app: Flask) -> None:
    """Give every request an id and every answer its headers."""
    app.before_request(_name_request)
    app.after_request(_finish_answer)


def read_capped_body(asked: Request | None = None, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body of a request, Flask's own unless one is given.

    Raises:
        BodyTooLargeError: more than `max_bytes`, or said to be.
        InvalidRequestError: less came than was announced.
    """
    asked = asked or request
    announced = asked.content_length
    if announced is not None and announced > max_bytes:
        raise BodyTooLargeError
    if announced is None and "Transfer-Encoding" not in asked.headers:
        return b""
    stream = asked.environ["wsgi.input"]
    body = _read(stream, max_bytes + 1 if announced is None else announced)
    if len(body) > max_bytes:
        raise BodyTooLargeError
    if announced is not None and len(body) < announced:
        raise InvalidRequestError("the body is shorter than Content-Length says")
    return body


def read_pieces(*, max_seconds: float = UPLOAD_SECONDS) -> Iterator[bytes]:
    """A large body piece by piece, each within a small body's time.

    Raises:
        InvalidRequestError: it stalled, broke off, or took too long in all.
    """
    if request.content_length is None and "Transfer-Encoding" not in request.headers:
        return
    stream, until = request.environ["wsgi.input"], time.monotonic() + max_seconds
    while piece := stream.read(PIECE_BYTES):
        yield piece
        if time.monotonic() > until:
            raise InvalidRequestError("the body did not arrive in time")
        if isinstance(stream, TimedBody):
            stream.give_time(BODY_SECONDS)


def name_request(given: str | None) -> str:
    """The id of a request, which its logs bear: the caller's where it is one, else a fresh one."""
    request_id = given if given and VISIBLE_ASCII.fullmatch(given) else secrets.token_hex(8)
    bind_request_id(request_id)
    return request_id


def _read(stream: BinaryIO, max_bytes: int) -> bytes:
    """The body up to so many bytes; a server may hand it out in pieces."""
    pieces, missing = [], max_bytes
    while missing > 0 and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _name_request() -> None:
    g.request_id = name_request(request.headers.get("X-Request-Id"))


def _finish_answer(response: Response) -> Response:
    name_by_route()
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if match := V1_PATH.fullmatch(request.path):
        base = current_app.extensions["keyturn"].settings.link_base
        successor = f"{base}/v2/users/{quote(match[1], safe='')}/password_reset"
        response.headers["Deprecation"] = DEPRECATED_SINCE
        response.headers["Link"] = f'<{successor}>; rel="successor-version"'
    return response
