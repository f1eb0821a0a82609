"""Native gRPC: both services, health and reflection, on one asyncio loop.

The loop waits for messages, so that callers who stall hold no thread; the use cases run in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from web.http import CallResponse
from web.middleware import MAX_BODY_BYTES, V1_PATH
from web.problems import LATE, Problem, ProblemError
from web.rpc.calls import (
    CALLS,
    SERVICES,
    V1_CALL,
    Fields,
    RpcCall,
    RpcResponse,
    answer_call,
    read_message,
    write_message,
    write_status_details,
)
from web.services import WebServices

MIN_THREADS = 40  # calls of one connection that run side by side, whatever the setting
STOP_SECONDS = 30.0
# When grpcio stops, it cancels calls that have arrived and not begun, so wait for a pause first.
QUIET_SECONDS = 0.05
MAX_QUIET_WAITS = 40
STREAMS_PER_CONNECTION = 1024
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.so_reuseport", 1),
)
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


async def serve(
    services: WebServices,
    address: str,
    *,
    stopping: asyncio.Event,
    on_ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until `stopping` is set, then finish calls in flight for up to STOP_SECONDS.

    `on_ready` receives the port.

    Raises:
        RuntimeError: the server cannot listen on the address.
    """
    threads = max(services.settings.web_threads, MIN_THREADS)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
    server = grpc.aio.server(options=OPTIONS)
    handlers = Handlers(services, pool)
    server.add_generic_rpc_handlers((handlers,))
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    _enable_reflection(server)
    port = server.add_insecure_port(address)
    await server.start()
    for service in (health.OVERALL_HEALTH, *SERVICES):
        await state.set(service, health_pb2.HealthCheckResponse.SERVING)
    on_ready(port)
    await stopping.wait()
    await state.enter_graceful_shutdown()
    await _stop(server, handlers)
    pool.shutdown(wait=False, cancel_futures=True)


def _enable_reflection(server: grpc.aio.Server) -> None:
    """Serve reflection as v1alpha and as v1: their messages are the same on the wire.

    grpcio-reflection has v1alpha only. Source: https://github.com/grpc/grpc-proto
    """
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
    servicer = reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION_V1, handlers),)
    )


async def _stop(server: grpc.aio.Server, handlers: Handlers) -> None:
    """Accept no more calls, finish those in flight, then end the streams of health watchers."""
    await handlers.wait_quiet()
    ending = asyncio.ensure_future(server.stop(STOP_SECONDS))
    idle = asyncio.ensure_future(handlers.wait_idle())
    await asyncio.wait((ending, idle), return_when=asyncio.FIRST_COMPLETED)
    idle.cancel()
    await server.stop(QUIET_SECONDS)
    await ending


class Handlers(grpc.GenericRpcHandler):
    """Finds the call of a path; the v1 call also by its REST path, whose user id overrides."""

    def __init__(self, services: WebServices, pool: ThreadPoolExecutor) -> None:
        """Run the calls in `pool`."""
        self._services = services
        self._pool = pool
        self._calls_begun = 0
        self._calls_in_flight = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def wait_idle(self) -> None:
        """Return once no call is in flight."""
        await self._is_idle.wait()

    async def wait_quiet(self) -> None:
        """Return once no call has begun for QUIET_SECONDS, or after MAX_QUIET_WAITS."""
        for _ in range(MAX_QUIET_WAITS):
            begun = self._calls_begun
            await asyncio.sleep(QUIET_SECONDS)
            if self._calls_begun == begun:
                return

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the handler of a path; None if there is no such call."""
        path = handler_call_details.method
        if call := CALLS.get(path):
            return self._handler(call, {})
        if match := V1_PATH.fullmatch(path):
            return self._handler(V1_CALL, {"user_id": unquote(match[1])})
        return None

    def _begin(self) -> None:
        self._calls_begun += 1
        self._calls_in_flight += 1
        self._is_idle.clear()

    def _end(self) -> None:
        self._calls_in_flight -= 1
        if not self._calls_in_flight:
            self._is_idle.set()

    def _handler(self, call: RpcCall, path_fields: Fields) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(body: bytes, context: Context) -> bytes:
            def read() -> Fields:
                if _is_past_deadline(context):
                    raise ProblemError(LATE)
                return read_message(body, call.request) | path_fields

            header = read_metadata(context).get
            peer = unquote(context.peer()).partition(":")[2]  # `ipv4:127.0.0.1:4711`
            run = partial(answer_call, self._services, call, header, read, peer=peer)
            self._begin()
            try:
                answered = await asyncio.get_running_loop().run_in_executor(self._pool, run)
                return await _respond(answered, call, context)
            finally:
                self._end()

        return grpc.unary_unary_rpc_method_handler(handle)


def read_metadata(context: Context) -> dict[str, str]:
    """Return the text metadata by name; repeated names are joined, as in HTTP."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


async def _respond(answered: RpcResponse, call: RpcCall, context: Context) -> bytes:
    await context.send_initial_metadata(answered.headers)
    match answered.outcome:
        case CallResponse() as answer:
            return write_message(answer, call.response)
        case Problem() as problem:
            trailers: list[tuple[str, str | bytes]] = [("x-request-id", answered.request_id)]
            if details := write_status_details(problem):
                trailers.append(("grpc-status-details-bin", details))
            return await context.abort(STATUS_CODES[problem.code], problem.text, tuple(trailers))


def _is_past_deadline(context: Context) -> bool:
    seconds_left = context.time_remaining()
    return seconds_left is not None and seconds_left <= 0.0
