"""`python -m web.rpc`: serve native gRPC in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from shared.errors import SettingsError
from shared.log import set_up_logging
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.tracing import set_up_tracing
from shared.wiring import build_services, check_directory, check_keys, check_server, connect_store
from web.rpc.grpc import serve
from web.services import WebServices, build_web_services
from web.up.probe import taken_port


def main() -> None:
    """Serve until SIGTERM or SIGINT; calls in flight are finished."""
    try:
        settings = load_settings(os.environ)
        if reason := taken_port(settings.host, settings.grpc_port, is_shared=True):
            sys.exit(f"keyturn grpc: {reason}")
        set_up_logging(settings.log_level, service="grpc")
        set_up_tracing("grpc", os.environ)
        services = build_rpc_services(settings)
    except SettingsError as error:
        print(f"keyturn grpc: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(SettingsError.EXIT_STATUS)
    try:
        asyncio.run(serve_until_signal(services))
    finally:
        services.hints.close()


def build_rpc_services(settings: Settings) -> WebServices:
    """Return the services of this process.

    Raises:
        SettingsError: a setting is wrong.
    """
    check_server(settings)
    check_directory(settings)
    hints = HintPublisher(make_celery(settings), is_in_store=not settings.broker_url)
    services = build_services(settings, client=connect_store(settings), hints=hints)
    check_keys(services.digests)
    services.digests.watch()
    return build_web_services(services)


async def serve_until_signal(services: WebServices) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    host, port = services.settings.host, services.settings.grpc_port
    await serve(
        services, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", stopping=stopping
    )


if __name__ == "__main__":
    main()
