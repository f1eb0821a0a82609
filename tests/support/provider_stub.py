"""SendGrid and Twilio on loopback, for tests, journeys and the bench: keeps count outside of us.

Every message it takes stands in the ledger before the answer is written. What it answers can be
scripted, faults included; without a script it behaves as the providers do. Twilio accounts and
SendGrid keys are not checked unless the script says so.

As a process: `python -m tests.support.provider_stub --port 18450 --ledger ledger.jsonl`.
There, `POST /_stub/script` takes a JSON list of answers, `GET /_stub/requests` gives what it saw
and `GET /_stub/ledger` what it took.
"""

from __future__ import annotations

import argparse
import json
import socket
import socketserver
import ssl
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.provider_stub_answers import Answer, Simulation, write_answer

PIECE_BYTES = 65536


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float = field(default_factory=time.time)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def form(self) -> dict[str, str]:
        parsed = parse_qs(self.body.decode(), keep_blank_values=True)
        return {name: values[0] for name, values in parsed.items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ProviderStub:
    """A server in this process: `with ProviderStub() as stub: … stub.url …`."""

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        ledger: Path | None = None,
        delay_ms: float = 0,
        list_lag_ms: float = 0,
    ) -> None:
        """`list_lag_ms`: how long a message Twilio took stays out of its list."""
        self.tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.script: deque[Answer] = deque()
        self.outage: Answer | None = None  # while set, every request is answered so
        self.simulation = Simulation(ledger, list_lag_seconds=list_lag_ms / 1000)
        self.delay_seconds = delay_ms / 1000
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The ledger: one entry per message it took."""
        return self.simulation.taken

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def answers(self, *answers: Answer) -> None:
        """Answer the next requests like this, in this order."""
        self.script.extend(answers)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle(self, request: Request) -> Answer:
        """What to answer, after it was written down."""
        if request.path.startswith("/_stub/"):
            return self._steer(request)
        self.requests.append(request)
        try:
            scripted = self.outage or self.script.popleft()
        except IndexError:
            scripted = None
        if scripted is None or scripted.takes:
            answer = self.simulation.take(request)
            if scripted is not None:
                answer = scripted.over(answer)
        else:
            answer = scripted
        self.stopping.wait(self.delay_seconds + answer.delay_ms / 1000)
        return answer

    def _steer(self, request: Request) -> Answer:
        if request.path == "/_stub/script":
            self.answers(*(Answer(**entry) for entry in request.json))
            return Answer.of_json(200, {"waiting": len(self.script)})
        if request.path == "/_stub/ledger":
            return Answer.of_json(200, self.taken)
        seen = [asdict(each) | {"body": each.body.decode("latin-1")} for each in self.requests]
        return Answer.of_json(200, seen)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512
    block_on_close = False

    def __init__(self, address: tuple[str, int], stub: ProviderStub) -> None:
        self.stub = stub
        self.open_sockets: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def close_connections(self) -> None:
        for sock in list(self.open_sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side was first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what many tests are about."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    BLANK: ClassVar[bytes] = b"\r\n\r\n"

    def handle(self) -> None:
        sock = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.stub.connections += 1
        self.server.open_sockets.add(sock)
        try:
            if self.server.stub.tls is not None:
                self.server.open_sockets.discard(sock)
                sock = self.server.stub.tls.wrap_socket(sock, server_side=True)
                self.server.open_sockets.add(sock)
            self._serve(sock)
        except OSError:
            return
        finally:
            self.server.open_sockets.discard(sock)
            sock.close()

    def _serve(self, sock: socket.socket) -> None:
        rest = b""
        while True:
            request, rest = self._read(sock, rest)
            if request is None:
                return
            answer = self.server.stub.handle(request)
            if not write_answer(sock, answer, self.server.stub.stopping):
                return

    def _read(self, sock: socket.socket, received: bytes) -> tuple[Request | None, bytes]:
        while self.BLANK not in received:
            piece = sock.recv(PIECE_BYTES)
            if not piece:
                return None, b""
            received += piece
        head, _, body = received.partition(self.BLANK)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", "0"))
        while len(body) < length:
            piece = sock.recv(PIECE_BYTES)
            if not piece:
                return None, b""
            body += piece
        return Request(method, target, headers, body[:length]), body[length:]


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--list-lag-ms", type=float, default=0)
    parser.add_argument("--certificate", type=Path, help="PEM with key and chain: serve https")
    chosen = parser.parse_args()
    tls = None
    if chosen.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chosen.certificate)
    stub = ProviderStub(
        port=chosen.port,
        tls=tls,
        ledger=chosen.ledger,
        delay_ms=chosen.delay_ms,
        list_lag_ms=chosen.list_lag_ms,
    ).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        stub.stop()


if __name__ == "__main__":
    main()
