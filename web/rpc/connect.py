"""Connect's unary calls: a plain message in the body, errors as JSON with an HTTP status.

Source: https://connectrpc.com/docs/protocol
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import orjson
from werkzeug.wrappers import Request, Response

from shared.errors import InvalidRequestError
from web.http import CallResponse
from web.middleware import read_capped_body
from web.problems import HTTP_STATUS, NO_SUCH_CALL, UNAUTHENTICATED, Problem
from web.rpc.calls import Fields, RpcCall, RpcResponse, build_status, read_message, write_message
from web.rpc.grpc_web import decompress, read_connect_seconds
from web.schemas import read_body

VERSION = "1"
CODE_NAMES = {
    1: "canceled", 2: "unknown", 3: "invalid_argument", 4: "deadline_exceeded", 5: "not_found",
    6: "already_exists", 7: "permission_denied", 8: "resource_exhausted",
    9: "failed_precondition", 10: "aborted", 11: "out_of_range", 12: "unimplemented",
    13: "internal", 14: "unavailable", 15: "data_loss", 16: "unauthenticated",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Connect:
    """One of Connect's two encodings."""

    mimetype: str
    is_json: bool

    def read(self, request: Request, call: RpcCall) -> Fields:
        """Decode the message; JSON as in REST, except that an empty body is refused."""
        if request.headers.get("Connect-Protocol-Version", VERSION) != VERSION:
            raise InvalidRequestError('Connect-Protocol-Version must be "1"')
        body = decompress(read_capped_body(request), request.headers.get("Content-Encoding"))
        if not self.is_json:
            return read_message(body, call.request)
        if not body.strip():
            raise InvalidRequestError("the body is empty; an empty message is {}")
        return read_body(body, call.schema)

    def timeout_seconds(self, request: Request) -> float | None:
        """Return how long the caller waits; None if it sets no timeout."""
        return read_connect_seconds(request.headers.get("Connect-Timeout-Ms"))

    def write(self, answered: RpcResponse, call: RpcCall) -> Response:
        """Return a 200 with the message, or the error."""
        match answered.outcome:
            case CallResponse() as answer if self.is_json:
                response = Response(orjson.dumps(answer.body), mimetype=self.mimetype)
            case CallResponse() as answer:
                response = Response(write_message(answer, call.response), mimetype=self.mimetype)
            case Problem() as problem:
                response = self.write_problem(problem)
        response.headers.extend(answered.headers)
        return response

    def write_problem(self, problem: Problem) -> Response:
        """Return Connect's error JSON, which does not depend on the messages' encoding."""
        status = problem.http_status if problem is NO_SUCH_CALL else HTTP_STATUS[problem.code]
        response = Response(orjson.dumps(_as_json(problem)), status, mimetype="application/json")
        if problem.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(problem.retry_after_seconds)
        if problem.code == UNAUTHENTICATED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _as_json(problem: Problem) -> dict[str, Any]:
    body: dict[str, Any] = {"code": CODE_NAMES[problem.code], "message": problem.text}
    as_json = problem.as_json().get("details", [])
    details = [
        {
            "type": detail.type_url.rpartition("/")[2],
            "value": b64encode(detail.value).decode().rstrip("="),
            "debug": {name: value for name, value in debug.items() if name != "@type"},
        }
        for detail, debug in zip(build_status(problem).details, as_json, strict=True)
    ]
    return body | ({"details": details} if details else {})
