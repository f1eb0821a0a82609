"""What `keyturn up` says once everything answers: what to paste, and where to look."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from typing import TYPE_CHECKING

from web.first_start import USER_ID, demo_token

if TYPE_CHECKING:
    from shared.settings import Settings

ASK_EVERY_SECONDS = 0.2
ANSWER_SECONDS = 2.0
IMPATIENT_SECONDS = 20.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what to call, not to listen on
NOT_FOUND = 404
OK = 200


class ReadyLines:
    """Says "ready" once, when /readyz says so."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        self._settings = settings
        self._host = ANY_ADDRESS.get(settings.host, settings.host)
        self._started_at = time.monotonic()
        self._ask_at = 0.0
        self._is_told = False
        self._is_impatient = False

    def tell_once(self) -> None:
        """Print the lines if it is ready now and they have not been printed."""
        now = time.monotonic()
        if self._is_told or now < self._ask_at:
            return
        self._ask_at = now + ASK_EVERY_SECONDS
        if self._status("/readyz") == OK and self._grpc_listens():
            self._is_told = True
            print("\n".join(self._lines()), flush=True)  # noqa: T201
        elif not self._is_impatient and now - self._started_at > IMPATIENT_SECONDS:
            self._is_impatient = True
            print(f"Not ready yet; {self._base}/readyz says what is missing.", flush=True)  # noqa: T201

    @property
    def _base(self) -> str:
        return f"http://{self._netloc(self._settings.port)}"

    def _netloc(self, port: int, host: str = "") -> str:
        host = host or self._host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _grpc_listens(self) -> bool:
        address = (self._host, self._settings.grpc_port)
        with contextlib.suppress(OSError), socket.create_connection(address, ANSWER_SECONDS):
            return True
        return False

    def _lines(self) -> list[str]:
        data_dir = self._settings.data_dir
        flower_host = self._settings.flower_host
        flower_host = ANY_ADDRESS.get(flower_host, flower_host)
        flower = f"http://{self._netloc(self._settings.flower_port, flower_host)}"
        lines = [
            "",
            "Keyturn is ready. Ask for a reset:",
            "",
            _curl(self._base, demo_token(data_dir)),
            "",
        ]
        if "outbox" in self._settings.email_providers + self._settings.sms_providers:
            lines.append(f"  the inbox    {self._base}/dev/inbox")
        if self._status("/docs") not in (None, NOT_FOUND):
            lines.append(f"  the API      {self._base}/docs")
        lines.append(f"  gRPC         {self._netloc(self._settings.grpc_port)}")
        return [*lines, f"  the queues   {flower}/", ""]

    def _status(self, path: str) -> int | None:
        """The status of a GET; None when nobody answers."""
        line = http.client.HTTPConnection(self._host, self._settings.port, timeout=ANSWER_SECONDS)
        try:
            line.request("GET", path)
            return line.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            line.close()


def _curl(base: str, token: str) -> str:
    return (
        f"  curl -X POST {base}/management/v1/users/{USER_ID}/password/_reset"
        f" -H 'Authorization: Bearer {token}' -d '{{\"type\":\"TYPE_EMAIL\"}}'"
    )
