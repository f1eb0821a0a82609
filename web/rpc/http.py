"""Serve gRPC-Web and Connect on the port of REST, by path and content type."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import orjson
from werkzeug.wrappers import Request, Response

from shared.errors import MethodNotAllowedError, NotFoundError
from web.middleware import V1_PATH, assign_request_id
from web.problems import LATE, NO_SUCH_CALL, Problem, ProblemError, describe
from web.rpc.calls import (
    CALLS,
    V1_CALL,
    Fields,
    RpcCall,
    RpcResponse,
    answer_call,
    fixed_headers,
)
from web.rpc.connect import Connect
from web.rpc.grpc_web import GrpcWeb
from web.services import WebServices

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class WireProtocol(Protocol):
    """Reads a call's message from a request and writes its response."""

    def read(self, request: Request, call: RpcCall) -> Fields:
        """Decode the message.

        Raises:
            CallerError, ProblemError: it cannot be read.
        """

    def timeout_seconds(self, request: Request) -> float | None:
        """Return how long the caller waits; None if it sets no timeout.

        Raises:
            InvalidRequestError: the header is malformed.
        """

    def write(self, answered: RpcResponse, call: RpcCall) -> Response:
        """Return the response of a call."""

    def write_problem(self, problem: Problem) -> Response:
        """Return the response of a problem."""


PROTOCOLS: dict[str, WireProtocol] = {
    protocol.mimetype: protocol
    for protocol in (
        Connect("application/json", is_json=True),
        Connect("application/proto", is_json=False),
        GrpcWeb("application/grpc-web"),
        GrpcWeb("application/grpc-web+proto"),
        GrpcWeb("application/grpc-web-text", is_text=True),
        GrpcWeb("application/grpc-web-text+proto", is_text=True),
        GrpcWeb("application/grpc", has_frame=False),
        GrpcWeb("application/grpc+proto", has_frame=False),
    )
}
METHODS = "OPTIONS, POST"


class RpcApplication:
    """The WSGI application of the RPC paths."""

    def __init__(self, services: WebServices) -> None:
        """`services` are those of REST."""
        self._services = services

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        request = Request(environ)
        found = find_call(request.path)
        response = self._answer(request, found)
        if found:
            response.headers.update(fixed_headers(self._services, found[0]))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if "X-Request-Id" not in response.headers:
            response.headers["X-Request-Id"] = assign_request_id(
                request.headers.get("X-Request-Id")
            )
        return response(environ, start_response)

    def _answer(self, request: Request, found: tuple[RpcCall, Fields] | None) -> Response:
        protocol = PROTOCOLS.get(request.mimetype)
        if found is None:
            return (
                protocol.write_problem(NO_SUCH_CALL) if protocol else self._refuse(NotFoundError())
            )
        if request.method == "OPTIONS":
            return Response(status=204, headers={"Allow": METHODS})
        if request.method != "POST":
            return self._refuse(MethodNotAllowedError(), Allow=METHODS)
        if protocol is None:
            return Response(status=415, headers={"Accept-Post": ", ".join(PROTOCOLS)})
        return self._call(request, protocol, *found)

    def _call(
        self, request: Request, protocol: WireProtocol, call: RpcCall, path_fields: Fields
    ) -> Response:
        started_at = time.monotonic()

        def read() -> Fields:
            timeout_seconds = protocol.timeout_seconds(request)
            fields = protocol.read(request, call) | path_fields
            if timeout_seconds is not None and time.monotonic() - started_at >= timeout_seconds:
                raise ProblemError(LATE)
            return fields

        header, peer = request.headers.get, request.remote_addr or ""
        return protocol.write(answer_call(self._services, call, header, read, peer=peer), call)

    def _refuse(self, error: NotFoundError | MethodNotAllowedError, **headers: str) -> Response:
        """Return the error as REST does, for a client of none of the protocols."""
        problem = describe(error, self._services.languages)
        body = orjson.dumps(problem.as_json())
        return Response(body, problem.http_status, headers, mimetype="application/json")


def find_call(path: str) -> tuple[RpcCall, Fields] | None:
    """Return the call of a path and the fields in the path; None if there is no such call."""
    if call := CALLS.get(path):
        return call, {}
    if match := V1_PATH.fullmatch(path):
        return V1_CALL, {"user_id": match[1]}
    return None
