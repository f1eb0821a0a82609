"""`python -m web`: REST and the pages, served by granian in the foreground."""

from __future__ import annotations

import os
import resource
import sys
from functools import partial
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from shared.errors import SettingsError
from shared.settings import Settings, load_settings
from shared.wiring import check_directory, check_server
from web.up.child import end_with_parent
from web.up.probe import taken_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication

    from web.server.asgi import AsgiApplication

# Connections accepted at a time; more wait in the kernel and are reset when the server stops.
MAX_CONNECTIONS = 4096
BACKLOG = 1024
SPARE_FILES = 256  # beside those of connections
HEADER_MILLISECONDS = 10_000  # also closes connections that are kept alive but idle
STOP_SECONDS = 30
MAX_HEADER_BYTES = 64 * 1024
# How long a thread that computes keeps Python's lock from one that waits. A request waits for it
# some six times: with Python's own 5 ms, 30 ms beside any work.
SWITCH_SECONDS = 0.0005


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are finished."""
    try:
        settings = load_settings(os.environ)
        check_server(settings)
        check_directory(settings)
    except SettingsError as error:
        print(f"keyturn web: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(SettingsError.EXIT_STATUS)
    if reason := taken_port(settings.host, settings.port, is_shared=True):
        sys.exit(f"keyturn web: {reason}")
    serve(settings)


def serve(settings: Settings, load: Callable[[int], WSGIApplication] | None = None) -> None:
    """Run granian's main process here and its server processes below it.

    `load` builds the application, given this process's id; the bench passes another one.
    """
    server = Granian(
        "web.server.asgi:AsgiApplication",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        workers=settings.web_processes,
        backlog=BACKLOG,
        backpressure=allow_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_MILLISECONDS, max_buffer_size=MAX_HEADER_BYTES
        ),
        websockets=False,
        log_level=LogLevels.error,
        log_access=False,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=STOP_SECONDS,
    )
    loader = partial(load_asgi, load or load_app, os.getpid(), settings.web_threads)
    server.serve(target_loader=loader, wrap_loader=False)


def allow_connections() -> int:
    """Set this process's limit of open files; return how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_CONNECTIONS + SPARE_FILES
    files = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, files - SPARE_FILES)


def load_asgi(
    load: Callable[[int], WSGIApplication], parent_pid: int, threads: int
) -> AsgiApplication:
    """Build the application in a server process, with the reading of bodies before it."""
    from web.server.asgi import AsgiApplication  # noqa: PLC0415  # after the fork, as in load_app

    sys.setswitchinterval(SWITCH_SECONDS)
    return AsgiApplication(load(parent_pid), threads=threads)


def load_app(parent_pid: int) -> WSGIApplication:
    """Build the application in a server process, which ends with its parent."""
    end_with_parent(parent_pid)
    from web.app import build_app  # noqa: PLC0415  # after the fork, so no connection is shared

    try:
        return build_app()
    except SettingsError as error:
        sys.exit(f"keyturn web: {error}")


if __name__ == "__main__":
    main()
