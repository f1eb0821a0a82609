"""What a protocol on HTTP/1.1 can do; RpcApplication chooses one by the content type."""

from __future__ import annotations

from typing import Protocol

from werkzeug.wrappers import Request, Response

from web.problems import Problem
from web.rpc.calls import Call, Fields, Told


class WireProtocol(Protocol):
    """Reads a call's message from a request and writes what the caller is told."""

    def read(self, request: Request, call: Call) -> Fields:
        """The decoded message.

        Raises:
            CallerError, ProblemError: it cannot be read.
        """

    def seconds(self, request: Request) -> float | None:
        """How long the caller waits, None when it does not say.

        Raises:
            InvalidRequestError: it says so in no known way.
        """

    def write(self, told: Told, call: Call) -> Response:
        """The answer or the problem."""

    def write_problem(self, problem: Problem) -> Response:
        """A problem alone."""
