"""Ask whether the web process still answers, and whether a port is free."""

from __future__ import annotations

import http.client
import socket
import time
from threading import Thread

from shared.settings import Settings

LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to call, not to listen on
PROBE_SECONDS = 2.0  # between two questions
TIMEOUT_SECONDS = 5.0
MAX_SILENCES = 3  # in a row
START_SECONDS = 60.0  # for the first answer of a process


class LiveProbe:
    """Asks for /livez in a thread, so that `up` goes on watching."""

    def __init__(self, settings: Settings) -> None:
        """Begin with the first process that is asked about."""
        self._address = LOOPBACK_OF.get(settings.host, settings.host), settings.port
        self._pid: int | None = None
        self._silences = 0
        self._count_from = 0.0  # until then the process may be starting
        self._thread = Thread(target=self._ask, name="probe", daemon=True)

    def is_silent(self, pid: int | None) -> bool:
        """Return True if this process, which listens on the port of web, does not answer."""
        if pid != self._pid:
            self._pid, self._silences = pid, 0
            self._count_from = time.monotonic() + START_SECONDS
        if pid is not None and not self._thread.is_alive():
            self._thread.start()
        return pid is not None and self._silences >= MAX_SILENCES

    def _ask(self) -> None:
        while True:
            time.sleep(PROBE_SECONDS)
            pid = self._pid
            if get_answer(*self._address, "/livez", timeout_seconds=TIMEOUT_SECONDS)[0] is not None:
                self._silences, self._count_from = 0, 0.0
            elif pid == self._pid and time.monotonic() > self._count_from:
                self._silences += 1


def get_answer(
    host: str, port: int, path: str, *, timeout_seconds: float
) -> tuple[int | None, bytes]:
    """Return the status and body of a GET; None if there is no response."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def taken_port(host: str, port: int, *, is_shared: bool = False) -> str | None:
    """Return a sentence why a port cannot be listened on; None if it can.

    `is_shared`: servers of the same user may share the port, as granian's processes do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host} port {port}: {error.strerror}"
    return None
