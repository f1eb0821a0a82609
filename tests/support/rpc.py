"""A native gRPC server in this process, and a caller with grpcio's own client."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
from google.rpc import status_pb2

from tests.support.waiting import HANG_SECONDS
from web.rpc.calls import CALLS
from web.rpc.generated.management_pb2 import (
    SendHumanResetPasswordNotificationRequest as Notification,
)
from web.rpc.generated.zitadel_pb2 import ErrorDetail
from web.rpc.grpc import serve
from web.services import WebServices, build_web_services

V1 = "/zitadel.management.v1.ManagementService/SendHumanResetPasswordNotification"
PASSWORD_RESET = "/zitadel.user.v2.UserService/PasswordReset"
SET_PASSWORD = "/zitadel.user.v2.UserService/SetPassword"


class RpcServer:
    """Serves on a port of its own until `stop()`."""

    def __init__(self, services: Any) -> None:
        self.port = 0
        self.services: WebServices = build_web_services(services)
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> RpcServer:
        self._thread.start()
        assert self._ready.wait(HANG_SECONDS), "the gRPC server does not start"
        return self

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.ask_to_stop()
        self._thread.join(HANG_SECONDS)
        assert not self._thread.is_alive(), "the gRPC server does not stop"

    def ask_to_stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await serve(self.services, "127.0.0.1:0", stopping=self._stopping, on_ready=self._note_port)

    def _note_port(self, port: int) -> None:
        self.port = port
        self._ready.set()


class RpcCaller:
    """Calls over one channel, as grpcio's users do."""

    def __init__(self, target: str, token: str | None) -> None:
        self.channel = grpc.insecure_channel(target)
        self.token = token

    def start(self, path: str, message: Any, *, timeout: float = HANG_SECONDS, **metadata: str):
        """The call under way; `accept_language` is spelled with a hyphen."""
        call = CALLS.get(path)
        send = self.channel.unary_unary(
            path,
            request_serializer=lambda sent: (
                sent if isinstance(sent, bytes) else sent.SerializeToString()
            ),
            response_deserializer=call.response.FromString if call else None,
        )
        given = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        if self.token and "authorization" not in metadata:
            given.append(("authorization", f"Bearer {self.token}"))
        return send.future(message, timeout=timeout, metadata=given)

    def call(self, path: str, message: Any, **more: Any):
        """The answer and the call, whose metadata can be asked for."""
        under_way = self.start(path, message, **more)
        return under_way.result(), under_way

    def notify(self, user_id: str = "ada", *, channel: int = 0, **more: Any):
        return self.call(V1, Notification(user_id=user_id, type=channel), **more)

    def refusal(self, path: str, message: Any, **more: Any) -> tuple[grpc.StatusCode, str | None]:
        """The status and the id of a call that must fail."""
        error = self.start(path, message, **more).exception()
        assert isinstance(error, grpc.RpcError), "the call did not fail"
        return error.code(), error_id(error)


def status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    """The google.rpc.Status of an error, checked against its code and message."""
    sent = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if sent is None:
        return None
    status = status_pb2.Status.FromString(sent)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return status


def error_id(error: grpc.RpcError) -> str | None:
    """The id of the error's first detail."""
    status = status_of(error)
    if status is None:
        return None
    detail = ErrorDetail()
    assert status.details[0].Unpack(detail)
    return detail.id


def metadata_of(pairs: Any) -> dict[str, Any]:
    return dict(pairs or ())
