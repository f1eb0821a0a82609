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
MAX_BYTES = MAX_BODY_BYTES + FRAME_HEAD_BYTES
MAX_TEXT_BYTES = MAX_BYTES * 4 // 3 + 1024  # base64, in parts that each have their padding
COMPRESSED, TRAILERS = 0x01, 0x80  # flags of a frame
GZIP = 16 + zlib.MAX_WBITS
SECONDS_OF_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# PROTOCOL-HTTP2.md: characters that grpc-message does not percent-encode.
PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

_BASE64_PART = re.compile(rb"[^=]+={0,2}")


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """One of gRPC-Web's encodings; `has_frame` False: the status is in the headers.

    The latter is for plain gRPC over HTTP/1.1, where we have no trailers.
    """

    mimetype: str
    is_text: bool = False
    has_frame: bool = True

    def read(self, request: Request, call: RpcCall) -> Fields:
        """Decode the message."""
        if self.is_text:
            body = read_base64(read_capped_body(request, max_bytes=MAX_TEXT_BYTES))
        else:
            body = read_capped_body(request, max_bytes=MAX_BYTES)
        return read_message(read_frame(body, request.headers.get("Grpc-Encoding")), call.request)

    def timeout_seconds(self, request: Request) -> float | None:
        """Return how long the caller waits; None if it sets no timeout."""
        return read_grpc_seconds(request.headers.get("Grpc-Timeout"))

    def write(self, answered: RpcResponse, call: RpcCall) -> Response:
        """Return an HTTP 200; the gRPC status is a trailer."""
        match answered.outcome:
            case CallResponse() as answer:
                frame = write_frame(write_message(answer, call.response))
                response = self._respond(frame, {"grpc-status": "0"})
            case Problem() as problem:
                response = self.write_problem(problem)
        response.headers.extend(answered.headers)
        return response

    def write_problem(self, problem: Problem) -> Response:
        """Return the response of a problem."""
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


def read_frame(body: bytes, encoding: str | None) -> bytes:
    """Return the message of a gRPC body; `encoding` is the compression of flagged frames.

    Raises:
        InvalidRequestError: the body is not exactly one frame.
        BodyTooLargeError: the message exceeds the limit of a body.
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
    """Return a gRPC frame."""
    return bytes([flags]) + len(content).to_bytes(4, "big") + content


def decompress(content: bytes, encoding: str | None) -> bytes:
    """Decompress content, up to the limit of a body.

    Raises:
        ProblemError: the compression is unknown.
        InvalidRequestError: the content is malformed.
        BodyTooLargeError: the result exceeds the limit.
    """
    if encoding in (None, "", "identity"):
        return content
    if encoding != "gzip":
        raise ProblemError(UNKNOWN_COMPRESSION)
    reader = zlib.decompressobj(GZIP)
    try:
        message = reader.decompress(content, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise InvalidRequestError("the body is not gzip") from error
    if len(message) > MAX_BODY_BYTES:
        raise BodyTooLargeError
    if not reader.eof or reader.unused_data:
        raise InvalidRequestError("the body is not gzip")
    return message


def read_base64(text: bytes) -> bytes:
    """Decode base64, which may consist of several padded parts.

    Raises:
        InvalidRequestError: it is not base64.
    """
    try:
        return b"".join(b64decode(part, validate=True) for part in _BASE64_PART.findall(text))
    except binascii.Error as error:
        raise InvalidRequestError("the body is not base64") from error


def read_grpc_seconds(value: str | None) -> float | None:
    """Return `grpc-timeout` in seconds; None if it is absent.

    Raises:
        InvalidRequestError: it is not a number of at most 8 digits with a unit.
    """
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,8}[HMSmun]", value):
        raise InvalidRequestError("grpc-timeout must be up to 8 digits and one of H, M, S, m, u, n")
    return int(value[:-1]) * SECONDS_OF_UNIT[value[-1]]


def read_connect_seconds(value: str | None) -> float | None:
    """Return `connect-timeout-ms` in seconds; None if it is absent.

    Raises:
        InvalidRequestError: it is not a number of at most 10 digits.
    """
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise InvalidRequestError("connect-timeout-ms must be up to 10 digits")
    return int(value) / 1000


def write_grpc_message(text: str) -> str:
    """Percent-encode a text for `grpc-message`."""
    return quote_from_bytes(text.encode(), safe=PLAIN)
