"""What one call costs the server by each protocol: the same use case, another way of asking."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from itertools import count
from time import monotonic
from typing import Any

import grpc

from bench.figures import Row, middle
from bench.processes import Program, free_port, is_listening, python_module, running
from bench.site import Site, drained
from shared.models import Queue
from web.rpc.generated.user_pb2 import PasswordResetRequest, PasswordResetResponse

ROUNDS = 3
WARM_UP_SECONDS = 0.5
RPC_PATH = "/zitadel.user.v2.UserService/PasswordReset"
Ask = Callable[[str], None]


def measure_protocols(site: Site, *, seconds: float) -> list[Row]:
    """CPU per PasswordReset, one caller after the other, interleaved."""
    port, grpc_port = free_port(), free_port()
    numbers = count()
    with ExitStack() as stack:
        stack.enter_context(drained(site.client, *Queue))
        web = stack.enter_context(_serving(site, "web", port, "KEYTURN_PORT"))
        native = stack.enter_context(_serving(site, "web.rpc", grpc_port, "KEYTURN_GRPC_PORT"))
        line = stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=10)))
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{grpc_port}"))
        ways: dict[str, tuple[Program, Ask]] = {
            "REST": (web, _rest(line, site.token)),
            "Connect, JSON": (web, _connect(line, site.token)),
            "gRPC-Web": (web, _grpc_web(line, site.token)),
            "gRPC": (native, _grpc(channel, site.token)),
        }
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for round_number in range(ROUNDS + 1):
            for name, (server, ask) in ways.items():
                run_seconds = seconds / ROUNDS if round_number else WARM_UP_SECONDS
                cost = _run(server, ask, numbers, site.users, run_seconds)
                if round_number:
                    costs[name].append(cost)
    return [
        Row(name=f"protocols, {name}: CPU per call", value=middle(values), unit="µs")
        for name, values in costs.items()
    ]


def _serving(site: Site, module: str, port: int, variable: str) -> Any:
    return running(
        *python_module(module),
        is_ready=lambda: is_listening(port),
        env=site.environment | {variable: str(port)},
        log=site.log,
    )


def _run(server: Program, ask: Ask, numbers: count[int], users: int, seconds: float) -> float:
    before, until, calls = server.cpu_seconds(), monotonic() + seconds, 0
    while monotonic() < until:
        ask(f"u{next(numbers) % users}")
        calls += 1
    return (server.cpu_seconds() - before) * 1e6 / calls


def _post(line: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    line.request("POST", path, body, headers)
    answer = line.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {content[:200]!r}")
    return content


def _rest(line: HTTPConnection, token: str) -> Ask:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return lambda user: _post(line, f"/v2/users/{user}/password_reset", b"{}", headers) and None


def _connect(line: HTTPConnection, token: str) -> Ask:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return lambda user: _post(line, RPC_PATH, b'{"userId":"%s"}' % user.encode(), headers) and None


def _grpc_web(line: HTTPConnection, token: str) -> Ask:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/grpc-web+proto"}

    def ask(user: str) -> None:
        message = PasswordResetRequest(user_id=user).SerializeToString()
        content = _post(line, RPC_PATH, struct.pack(">BI", 0, len(message)) + message, headers)
        if b"grpc-status: 0" not in content:
            raise RuntimeError(f"gRPC-Web answered {content[:200]!r}")

    return ask


def _grpc(channel: grpc.Channel, token: str) -> Ask:
    metadata = [("authorization", f"Bearer {token}")]
    call = channel.unary_unary(
        RPC_PATH, PasswordResetRequest.SerializeToString, PasswordResetResponse.FromString
    )
    return lambda user: call(PasswordResetRequest(user_id=user), metadata=metadata) and None
