"""`python -m web.rpc`: gRPC, in the foreground."""

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
from shared.wiring import build_services, check_keys, check_server, connect_store
from web.__main__ import taken_port
from web.house import House, open_house
from web.rpc.grpc import serve


def main() -> None:
    """Serve until SIGTERM or SIGINT; calls being worked on are finished."""
    try:
        settings = load_settings(os.environ)
        if reason := taken_port(settings.host, settings.grpc_port, is_shared=True):
            sys.exit(f"keyturn grpc: {reason}")
        set_up_logging(settings.log_level, service="grpc")
        set_up_tracing("grpc", os.environ)
        house = build_house(settings)
    except SettingsError as error:
        sys.exit(f"keyturn grpc: {error}")
    try:
        asyncio.run(serve_until_told(house))
    finally:
        house.hints.close()


def build_house(settings: Settings) -> House:
    """The services of this process.

    Raises:
        SettingsError: a setting is wrong.
    """
    check_server(settings)
    hints = HintPublisher(make_celery(settings))
    services = build_services(settings, client=connect_store(settings), hints=hints)
    check_keys(services)
    return open_house(services)


async def serve_until_told(house: House) -> None:
    """Serve until a signal says to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    host, port = house.settings.host, house.settings.grpc_port
    await serve(house, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", stopping=stopping)


if __name__ == "__main__":
    main()
