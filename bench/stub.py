"""SendGrid's mail endpoint over TLS as a lean asyncio server: `python -m bench.stub --help`.

tests/support/provider_stub.py knows far more and costs as much as the worker it would measure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import ssl
import time
from pathlib import Path
from typing import TextIO

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
RESET_ID = re.compile(rb'"keyturn_reset_id":"([^"]+)"')
ANSWER = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: m%d\r\nContent-Length: 0\r\n\r\n"


class Stub(asyncio.Protocol):
    """Takes every mail, after a pause; notes for each recipient when it was there in full."""

    taken = 0

    def __init__(self, delay_seconds: float, ledger: TextIO | None) -> None:
        self._delay_seconds, self._ledger = delay_seconds, ledger
        self._pieces: list[bytes] = []
        self._missing = -1  # bytes until the request is whole; -1: its head is not there yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        if self._missing < 0:
            received = b"".join(self._pieces)
            head_ends = received.find(b"\r\n\r\n")
            if head_ends < 0:
                return
            length = LENGTH.search(received, 0, head_ends)
            self._missing = head_ends + 4 + int(length[1] if length else 0) - len(received)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._take()

    def _take(self) -> None:
        if self._ledger:
            at, found = time.time(), RESET_ID.findall(b"".join(self._pieces))
            self._ledger.write("".join(f"{each.decode()} {at}\n" for each in found))
        self._pieces, self._missing = [], -1
        Stub.taken += 1  # requests, whatever the number of their recipients
        answer = ANSWER % Stub.taken
        if self._delay_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay_seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(port: int, certificate: Path, delay_seconds: float, ledger: TextIO | None) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        lambda: Stub(delay_seconds, ledger), "127.0.0.1", port, ssl=tls, backlog=512
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--nice", type=int, default=0)
    chosen = parser.parse_args()
    os.nice(chosen.nice)
    ledger = chosen.ledger.open("a", buffering=1) if chosen.ledger else None
    asyncio.run(serve(chosen.port, chosen.certificate, chosen.delay_ms / 1000, ledger))


if __name__ == "__main__":
    main()
