"""gRPC-Web: gRPC's frames on HTTP/1.1, the trailers as the last frame of the body.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from werkzeug.wrappers import Request, Response

from web.calls import Answer
from web.problems import Problem
from web.requests import MAX_BODY_BYTES, read_capped_body
from web.rpc.calls import Call, Fields, Told, read_message, write_message
from web.rpc.framing import (
    FRAME_HEAD_BYTES,
    TRAILERS,
    read_base64,
    read_frame,
    read_grpc_seconds,
    write_frame,
    write_grpc_message,
)
from web.rpc.statuses import write_status_details

MOST_BYTES = MAX_BODY_BYTES + FRAME_HEAD_BYTES
MOST_TEXT_BYTES = MOST_BYTES * 4 // 3 + 1024  # base64, in parts that each have their padding


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """One of gRPC-Web's encodings; `has_frame` False: the status stands in the headers.

    The latter is for plain gRPC that came over HTTP/1.1, which has no trailers here.
    """

    mimetype: str
    is_text: bool = False
    has_frame: bool = True

    def read(self, request: Request, call: Call) -> Fields:
        """The decoded message."""
        if self.is_text:
            body = read_base64(read_capped_body(request, most_bytes=MOST_TEXT_BYTES))
        else:
            body = read_capped_body(request, most_bytes=MOST_BYTES)
        return read_message(read_frame(body, request.headers.get("Grpc-Encoding")), call.request)

    def seconds(self, request: Request) -> float | None:
        """How long the caller waits."""
        return read_grpc_seconds(request.headers.get("Grpc-Timeout"))

    def write(self, told: Told, call: Call) -> Response:
        """Always HTTP 200; the status is a trailer."""
        match told.outcome:
            case Answer() as answer:
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
