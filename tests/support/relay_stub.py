"""An SMTP relay on loopback whose every reply can be scripted, misbehaviour included."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Self

HANG, CUT, DRIP, GARBAGE = "hang", "cut", "drip", "\x00\x01 nonsense"
DRIP_SECONDS = 0.05
USUAL = {
    "greeting": "220 stub ESMTP",
    "EHLO": "250-stub\r\n250-8BITMIME\r\n250 SMTPUTF8",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 Ok: queued as 4ABC12",
    "QUIT": "221 2.0.0 bye",
}


class RelayStub:
    """`with RelayStub({"RCPT": "550 5.1.1 no"}) as relay: … relay.url …`."""

    def __init__(self, replies: dict[str, str] | None = None) -> None:
        """`replies`: a verb (or `greeting`, or `.` for the end of the mail) → what to say."""
        self.replies = USUAL | (replies or {})
        self.mails: list[bytes] = []
        self.commands: list[str] = []
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address, relay: RelayStub) -> None:
        self.relay = relay
        super().__init__(address, _Talk)

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is what many tests are about."""


class _Talk(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        if not self._say("greeting"):
            return
        while line := self.rfile.readline():
            verb = line.decode("latin-1").split()[0].upper() if line.strip() else "?"
            self.server.relay.commands.append(line.decode("latin-1").strip())
            if not self._say(verb) or verb == "QUIT":
                return
            if verb == "DATA" and self.server.relay.replies["DATA"].startswith("354"):
                self.server.relay.mails.append(self._mail())
                if not self._say("."):
                    return

    def _mail(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _say(self, step: str) -> bool:
        relay = self.server.relay
        reply = relay.replies.get(step, "500 5.5.2 what?")
        if reply == HANG:
            relay.stopping.wait()
        elif reply == DRIP:
            while not relay.stopping.wait(DRIP_SECONDS):
                self.wfile.write(b"2")
        elif reply != CUT:
            self.wfile.write(reply.encode("latin-1") + b"\r\n")
            return True
        self.request.shutdown(socket.SHUT_RDWR)
        return False
