"""A subscriber on loopback: keeps what it is told, and answers as the test says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from standardwebhooks import Webhook


class SubscriberStub:
    """Answers each call with the next status; the last repeats."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses or [204])
        self.headers = headers or {}
        self.delay_seconds = 0.0
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook?from=keyturn"

    def verified(self, secret: str) -> list[dict]:
        """The bodies; each must be signed, as the official package sees it."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.calls]

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.calls]

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.calls]

    def answer_with(self, statuses: Sequence[int]) -> None:
        with self._lock:
            self.statuses = list(statuses)

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        with self._lock:
            self.calls.append((headers, body))
            return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = stub._take(headers | {":path": self.path}, body)
                time.sleep(stub.delay_seconds)
                self.send_response(status)
                for name, value in stub.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def handle(self):
                with contextlib.suppress(ConnectionError):  # whoever called was killed
                    super().handle()

            def log_message(self, *_):
                """The tests' own lines are enough."""

        return Handler
