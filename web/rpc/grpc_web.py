"""gRPC-Web: gRPC's frames on HTTP/1.1, the trailers as the last frame of the body.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

import binascii
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from werkzeug.wrappers import Request, Response

from shared.errors import BodyTooLargeError, InvalidRequestError
from web.http import CallResponse
from web.middleware import MAX_BODY_BYTES, read_capped_body
from web.problems import UNKNOWN_COMPRESSION, Problem, ProblemError
from web.rpc.calls import (
    Fields,
    RpcCall,
    RpcResponse,
    read_message,
    write_message,
    write_status_details,
)

FRAME_HEAD_BYTES = 5
COMPRESSED, TRAILERS = 0x01, 0x80  # flags of a frame
GZIP = 16 + zlib.MAX_WBITS
SECONDS_OF_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# PROTOCOL-HTTP2.md: what stands as it is in grpc-message, spaces included; not the percent sign.
PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

_BASE64_PART = re.compile(rb"[^=]+={0,2}")


def read_frame(body: bytes, encoding: str | None) -> bytes:
    """The one message of a gRPC body; `encoding` is how flagged frames are compressed.

    Raises:
        InvalidRequestError: it is not exactly one frame. BodyTooLargeError: the message is.
    """
    if len(body) < FRAME_HEAD_BYTES or body[0] & ~COMPRESSED:
        raise InvalidRequestError("the body must be one gRPC frame")
    message = body[FRAME_HEAD_BYTES:]
    announced_bytes = int.from_bytes(body[1:FRAME_HEAD_BYTES], "big")
    if announced_bytes > MAX_BODY_BYTES:
        raise BodyTooLargeError
    if len(message) != announced_bytes:
        raise InvalidRequestError("the body must be one gRPC frame")
    return decompress(message, encoding) if body[0] & COMPRESSED else message


def write_frame(content: bytes, *, flags: int = 0) -> bytes:
    """A gRPC frame."""
    return bytes([flags]) + len(content).to_bytes(4, "big") + content


def decompress(content: bytes, encoding: str | None) -> bytes:
    """What was compressed, never more than a body may have.

    Raises:
        ProblemError: we do not know this compression.
        InvalidRequestError: it is none. BodyTooLargeError: what comes out is too large.
    """
    if encoding in (None, "", "identity"):
        return content
    if encoding != "gzip":
        raise ProblemError(UNKNOWN_COMPRESSION)
    reader = zlib.decompressobj(GZIP)
    try:
        found = reader.decompress(content, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise InvalidRequestError("the body is not gzip") from error
    if len(found) > MAX_BODY_BYTES:
        raise BodyTooLargeError
    if not reader.eof or reader.unused_data:
        raise InvalidRequestError("the body is not gzip")
    return found


def read_base64(text: bytes) -> bytes:
    """The bytes of a base64 text, which may consist of several padded parts.

    Raises:
        InvalidRequestError: it is no base64.
    """
    try:
        return b"".join(b64decode(part, validate=True) for part in _BASE64_PART.findall(text))
    except binascii.Error as error:
        raise InvalidRequestError("the body is not base64") from error


def read_grpc_seconds(value: str | None) -> float | None:
    """`grpc-timeout` in seconds, None without one.

    Raises:
        InvalidRequestError: it is no number of at most 8 digits with a unit.
    """
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,8}[HMSmun]", value):
        raise InvalidRequestError("grpc-timeout must be up to 8 digits and one of H, M, S, m, u, n")
    return int(value[:-1]) * SECONDS_OF_UNIT[value[-1]]


def read_connect_seconds(value: str | None) -> float | None:
    """`connect-timeout-ms` in seconds, None without one.

    Raises:
        InvalidRequestError: it is no number of at most 10 digits.
    """
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise InvalidRequestError("connect-timeout-ms must be up to 10 digits")
    return int(value) / 1000


def write_grpc_message(text: str) -> str:
    """A sentence as `grpc-message` carries it."""
    return quote_from_bytes(text.encode(), safe=PLAIN)


MAX_BYTES = MAX_BODY_BYTES + FRAME_HEAD_BYTES
MAX_TEXT_BYTES = MAX_BYTES * 4 // 3 + 1024  # base64, in parts that each have their padding


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """One of gRPC-Web's encodings; `has_frame` False: the status stands in the headers.

    The latter is for plain gRPC that came over HTTP/1.1, which has no trailers here.
    """

    mimetype: str
    is_text: bool = False
    has_frame: bool = True

    def read(self, request: Request, call: RpcCall) -> Fields:
        """The decoded message."""
        if self.is_text:
            body = read_base64(read_capped_body(request, max_bytes=MAX_TEXT_BYTES))
        else:
            body = read_capped_body(request, max_bytes=MAX_BYTES)
        return read_message(read_frame(body, request.headers.get("Grpc-Encoding")), call.request)

    def seconds(self, request: Request) -> float | None:
        """How long the caller waits."""
        return read_grpc_seconds(request.headers.get("Grpc-Timeout"))

    def write(self, told: RpcResponse, call: RpcCall) -> Response:
        """Always HTTP 200; the status is a trailer."""
        match told.outcome:
            case CallResponse() as answer:
                frame = write_frame(write_message(answer, call.response))
                response = self._respond(frame, {"grpc-status": "0"})
            case Problem() as problem:
                response = self.write_problem(problem)
        response.headers.extend(told.headers)
        return response

    def write_problem(self, problem: Problem) -> Response:
        """A problem alone."""
        trailers = {
            "grpc-status": str(problem.code),
            "grpc-message": write_grpc_message(problem.text),
        }
        if details := write_status_details(problem):
            trailers["grpc-status-details-bin"] = b64encode(details).decode().rstrip("=")
        return self._respond(b"", trailers)

    def _respond(self, frame: bytes, trailers: dict[str, str]) -> Response:
        if not self.has_frame:
            return Response(frame, mimetype=self.mimetype, headers=trailers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
        body = frame + write_frame(lines.encode("ascii"), flags=TRAILERS)
        return Response(b64encode(body) if self.is_text else body, mimetype=self.mimetype)
