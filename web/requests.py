"""What every request goes through: its id, the cap on its body, the headers of its answer."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

import structlog
from flask import Flask, Response, current_app, g, request
from werkzeug.wrappers import Request

from shared.errors import BodyTooLargeError, InvalidRequestError
from web.bodies import BODY_SECONDS, TimedBody
from web.traced import name_by_route

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


def read_capped_body(asked: Request | None = None, *, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body of a request, Flask's own unless one is given.

    Raises:
        BodyTooLargeError: more than `most_bytes`, or said to be.
        InvalidRequestError: less came than was announced.
    """
    asked = asked or request
    announced = asked.content_length
    if announced is not None and announced > most_bytes:
        raise BodyTooLargeError
    if announced is None and "Transfer-Encoding" not in asked.headers:
        return b""
    stream = asked.environ["wsgi.input"]
    body = _read(stream, most_bytes + 1 if announced is None else announced)
    if len(body) > most_bytes:
        raise BodyTooLargeError
    if announced is not None and len(body) < announced:
        raise InvalidRequestError("the body is shorter than Content-Length says")
    return body


def read_pieces(*, most_seconds: float = UPLOAD_SECONDS) -> Iterator[bytes]:
    """A large body piece by piece, each within a small body's time.

    Raises:
        InvalidRequestError: it stalled, broke off, or took too long in all.
    """
    if request.content_length is None and "Transfer-Encoding" not in request.headers:
        return
    stream, until = request.environ["wsgi.input"], time.monotonic() + most_seconds
    while piece := stream.read(PIECE_BYTES):
        yield piece
        if time.monotonic() > until:
            raise InvalidRequestError("the body did not arrive in time")
        if isinstance(stream, TimedBody):
            stream.give_time(BODY_SECONDS)


def name_request(given: str | None) -> str:
    """The id of a request, which its logs bear: the caller's where it is one, else a fresh one."""
    request_id = given if given and VISIBLE_ASCII.fullmatch(given) else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def _read(stream: BinaryIO, most_bytes: int) -> bytes:
    """The body up to so many bytes; a server may hand it out in pieces."""
    pieces, missing = [], most_bytes
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
