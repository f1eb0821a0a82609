"""Read a request's body, then run the WSGI application in a thread; refuse what is no HTTP.

No thread waits for a caller, and no body that broke off is taken for a whole one. This is ASGI,
where granian tells a body's end from its break.

Source: docs/decisions/0018-whole-bodies-before-the-application.md
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from queue import SimpleQueue
from tempfile import SpooledTemporaryFile
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

import orjson

from shared.errors import (
    BodyTooLargeError,
    CallerError,
    InvalidRequestError,
    TooManyRequestsError,
)
from web.http import BODY_ERROR, ListWantedError
from web.middleware import BODY_SECONDS, MAX_BODY_BYTES, assign_request_id
from web.problems import INVALID, Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]
ResultT = TypeVar("ResultT")

MAX_CALLBACK_BYTES = 1024 * 1024
MAX_GRPC_BYTES = 96 * 1024  # a message of MAX_BODY_BYTES in frames and base64
MAX_HELD_BYTES = 64 * 1024 * 1024  # of all bodies; beyond it the one that takes longest is given up
BODILESS_METHODS = ("GET", "HEAD", "OPTIONS")

LIST_TYPES = {  # by path; of the console, a form with a file
    "/keyturn/v1/batches": ("text/plain", "application/x-ndjson"),
    "/console/batches/upload": ("multipart/form-data",),
}
MAX_LIST_BYTES = 256 * 1024 * 1024  # a million lines
LIST_SECONDS = 600.0  # for all of it; BODY_SECONDS for each piece
MAX_LISTS, MAX_LISTS_OF_CALLER = 8, 4  # that arrive at a time
SPOOLED_BYTES = 1024 * 1024  # in memory; more of a list is in a file

# RFC 9112, 3.2: a name or an address, and a port; of names, what hosts are really named by.
HOST = re.compile(
    rb"(?:[\w-]+(?:\.[\w-]+)*\.?|\[[0-9a-f:.]+\])(?::\d{0,5})?", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answered; `rest` is what follows the body's first two pieces."""

    status: int
    headers: Headers
    body: bytes
    rest: Iterator[bytes] | None
    close: Callable[[], object]


class AsgiApplication:
    """The ASGI application."""

    def __init__(self, app: WSGIApplication, *, threads: int) -> None:
        """Run at most `threads` requests at a time."""
        self._app = app
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]] = SimpleQueue()
        for _ in range(threads):
            Thread(target=self._work, name="request", daemon=True).start()
        self._arriving: dict[asyncio.Timeout, int] = {}  # the bytes of bodies, the oldest first
        self._held_bytes = 0  # of bodies that arrive or are worked on
        self._lists: Counter[str] = Counter()  # that arrive, by caller
        self._refusing = asyncio.Semaphore()  # many bodies end at once: whole ones go first

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        environ = build_environ(scope)
        if fault := find_fault(scope, environ):
            await _refuse(environ, fault, send)
        elif _is_list(environ):
            await self._take_list(environ, receive, send)
        else:
            held_bytes = await self._read_body(environ, receive)
            try:
                await self._answer(environ, receive, send)
            finally:
                self._held_bytes -= held_bytes

    async def _read_body(self, environ: WSGIEnvironment, receive: Receive) -> int:
        """Put the body into the environ, or why there is none; return the bytes it holds."""
        most = _most_bytes(environ)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        wanted = most + 1 if "HTTP_TRANSFER_ENCODING" in environ else length
        if not wanted or environ["REQUEST_METHOD"] in BODILESS_METHODS:
            return 0
        body = bytearray()
        limit = asyncio.timeout(BODY_SECONDS)
        try:
            if length > most:
                raise BodyTooLargeError
            async with limit:
                is_last = False
                while len(body) < wanted and not is_last:
                    piece, is_last = await _receive_piece(receive)
                    body += piece
                    self._hold(limit, len(piece))
            if len(body) > most:
                raise BodyTooLargeError
        except TimeoutError:
            environ[BODY_ERROR] = InvalidRequestError("the body did not arrive in time")
        except CallerError as error:
            environ[BODY_ERROR] = error
        environ["wsgi.input"] = BytesIO(body)
        return self._arriving.pop(limit, 0)

    def _hold(self, limit: asyncio.Timeout, added_bytes: int) -> None:
        """Count the bytes; if all bodies hold too many, end the time of the oldest that arrives."""
        self._arriving[limit] = self._arriving.get(limit, 0) + added_bytes
        self._held_bytes += added_bytes
        if self._held_bytes > MAX_HELD_BYTES:
            oldest = next(iter(self._arriving))
            self._held_bytes -= self._arriving.pop(oldest)
            oldest.reschedule(0)

    async def _take_list(self, environ: WSGIEnvironment, receive: Receive, send: Send) -> None:
        """Ask the application whether it wants the list; give it the list once it is whole."""
        asked = await self._in_thread(self._call, environ | {BODY_ERROR: ListWantedError()})
        if asked.status != ListWantedError.STATUS:
            await self._send(asked, receive, send)
            return
        caller = environ.get("HTTP_AUTHORIZATION", "")
        self._lists[caller] += 1
        try:
            if self._lists.total() > MAX_LISTS or self._lists[caller] > MAX_LISTS_OF_CALLER:
                raise TooManyRequestsError("lists", retry_after_seconds=10)
            if int(environ.get("CONTENT_LENGTH") or 0) > MAX_LIST_BYTES:
                raise BodyTooLargeError
            with SpooledTemporaryFile(SPOOLED_BYTES) as file:
                await _spool(file, receive)
                environ["wsgi.input"] = file
                await self._answer(environ, receive, send)
        except CallerError as error:
            environ[BODY_ERROR] = error
        finally:
            self._lists -= Counter((caller,))
        if BODY_ERROR in environ:
            await self._answer(environ, receive, send)

    async def _answer(self, environ: WSGIEnvironment, receive: Receive, send: Send) -> None:
        async with self._refusing if BODY_ERROR in environ else nullcontext():
            answer = await self._in_thread(self._call, environ)
        await self._send(answer, receive, send)

    async def _in_thread(self, call: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Return what a call returns; with less work than run_in_executor has."""
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._jobs.put((done, partial(call, *arguments)))
        return await done

    def _work(self) -> None:
        while True:
            done, call = self._jobs.get()
            try:
                settle = partial(done.set_result, call())
            except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                settle = partial(done.set_exception, error)
            done.get_loop().call_soon_threadsafe(_settle, done, settle)

    def _call(self, environ: WSGIEnvironment) -> Answer:
        """Run the application up to the second piece of its answer, which most have not."""
        status, headers = 500, Headers()

        def start_response(line: str, told: list[tuple[str, str]], _error: object = None) -> Any:
            nonlocal status, headers
            status = int(line[:3])
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told]

        answer: Iterable[bytes] = self._app(environ, start_response)
        close = getattr(answer, "close", lambda: None)
        pieces = iter(answer)
        first = list(islice(pieces, 2))
        rest = pieces if len(first) > 1 else None
        if rest is None:
            close()
        return Answer(status, headers, b"".join(first), rest, close)

    async def _send(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Send an answer; one in pieces as fast as the caller takes it, or until it is gone."""
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        piece, rest = answer.body, answer.rest
        if rest is not None:
            gone = asyncio.ensure_future(_wait_until_gone(receive))
            try:
                while piece and not gone.done():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    piece = await self._in_thread(next, rest, b"")
            finally:
                gone.cancel()
                await self._in_thread(answer.close)
        await send({"type": "http.response.body", "body": piece})


def _settle(done: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not done.cancelled():
        settle()


def build_environ(scope: Message) -> WSGIEnvironment:
    """Return the WSGI environment of an ASGI scope.

    A method that is not upper case is none of ours: werkzeug would make it one. A name with an
    underscore is left out: it would pass for the same name with a hyphen.
    """
    method, (server, port) = scope["method"], scope["server"]
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method if method.isupper() else "UNKNOWN",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.0" if scope["http_version"] == "1" else "HTTP/1.1",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" not in name:
            key, text = name.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1")
            if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                environ.setdefault(key, text)
            else:
                key = f"HTTP_{key}"
                environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def find_fault(scope: Message, environ: WSGIEnvironment) -> str | None:
    """Return what is wrong with a request whatever its route; None if nothing is."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    is_unnamed = scope["http_version"] == "1" and hosts == [b""]  # granian adds an empty one
    if not is_unnamed and (len(hosts) != 1 or not HOST.fullmatch(hosts[0])):
        return "there must be one header Host, with a name or an address"
    if environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() != "chunked":
        return "of transfer codings, chunked is known, once"
    return None


def _content_type(environ: WSGIEnvironment) -> str:
    kind: str = environ.get("CONTENT_TYPE", "")
    return kind.partition(";")[0].strip().lower()


def _is_list(environ: WSGIEnvironment) -> bool:
    types = LIST_TYPES.get(environ["PATH_INFO"], ())
    return environ["REQUEST_METHOD"] == "POST" and _content_type(environ) in types


def _most_bytes(environ: WSGIEnvironment) -> int:
    """Return how many bytes a body may have here; routes may have lower limits."""
    path = environ["PATH_INFO"]
    if path.startswith("/callbacks/") or path.endswith("/branding/logo"):
        return MAX_CALLBACK_BYTES  # the route itself refuses a logo of more than 100 KB by name
    return MAX_GRPC_BYTES if "/grpc" in _content_type(environ) else MAX_BODY_BYTES


async def _receive_piece(receive: Receive) -> tuple[bytes, bool]:
    """Return the next piece of a body, and whether it is the last.

    Raises:
        InvalidRequestError: the body broke off.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise InvalidRequestError("the body broke off")
    return message["body"], not message["more_body"]


async def _spool(file: IO[bytes], receive: Receive) -> None:
    """Write a body to a file and go back to its start.

    Raises:
        InvalidRequestError: it broke off, or did not arrive in time.
        BodyTooLargeError: it exceeds MAX_LIST_BYTES.
    """
    now = asyncio.get_running_loop().time
    until, size, pieces = now() + LIST_SECONDS, 0, bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS) as limit:
            is_last = False
            while not is_last:
                piece, is_last = await _receive_piece(receive)
                size += len(piece)
                pieces += piece
                if size > MAX_LIST_BYTES:
                    raise BodyTooLargeError
                if len(pieces) > SPOOLED_BYTES:
                    await asyncio.to_thread(file.write, pieces)
                    pieces = bytearray()
                limit.reschedule(min(until, now() + BODY_SECONDS))
    except TimeoutError:
        raise InvalidRequestError("the body did not arrive in time") from None
    file.write(pieces)
    file.seek(0)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(environ: WSGIEnvironment, reason: str, send: Send) -> None:
    """Answer 400 in the shape of REST, and end the connection."""
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", assign_request_id(environ.get("HTTP_X_REQUEST_ID")).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    body = orjson.dumps(Problem(INVALID, 400, None, reason).as_json())
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
