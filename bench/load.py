"""The caller: sends resets over kept-alive connections, each for another user, and takes times.

A process of its own, so that its processor time is nobody else's; lean, so that it is no brake.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import time

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
CSRF = "c" * 32
RESET_ID = re.compile(rb"keyturn-reset-id: (\S+)", re.IGNORECASE)


class Caller:
    """What all connections share: who is next, and what came back."""

    def __init__(
        self, *, path: str, users: int, first: int, token: str, is_form: bool = False
    ) -> None:
        self._path, self._users, self._next, self._token = path, users, first, token
        self._is_form = is_form
        self.latencies_ms: list[float] = []
        self.refused = 0
        self.sent: dict[str, float] = {}  # reset id → moment of the call
        self.is_over = False

    def request(self) -> bytes:
        user = f"u{self._next % self._users}"
        self._next += 1
        if self._is_form:
            return self._form(user)
        head = (
            f"POST {self._path.format(user)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self._token}\r\nx-zitadel-orgid: bench\r\n"
            "Content-Type: application/json\r\nContent-Length: 21\r\n\r\n"
        )
        return head.encode() + b'{"type":"TYPE_EMAIL"}'

    def _form(self, user: str) -> bytes:
        """What a browser sends to Django's page."""
        body = f"csrfmiddlewaretoken={CSRF}&email={user}%40example.com"
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: csrftoken={CSRF}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()

    def note(self, answer: bytes, began: float, wall: float) -> None:
        self.latencies_ms.append((time.perf_counter() - began) * 1000)
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 302")):
            self.refused += 1
        elif found := RESET_ID.search(answer):
            self.sent[found[1].decode()] = wall


class Connection(asyncio.Protocol):
    """One call at a time; in a closed loop the next follows at once."""

    def __init__(self, caller: Caller, *, is_loop: bool) -> None:
        self._caller, self._is_loop = caller, is_loop
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._is_loop:
            self.call()

    def call(self) -> None:
        self._began, self._wall = time.perf_counter(), time.time()
        self._transport.write(self._caller.request())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_ends = self._received.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        length = LENGTH.search(self._received, 0, head_ends)
        if len(self._received) < head_ends + 4 + int(length[1] if length else 0):
            return
        self._caller.note(self._received, self._began, self._wall)
        self._received = b""
        if self._is_loop and not self._caller.is_over:
            self.call()


async def run(caller: Caller, *, port: int, seconds: float, connections: int, rate: float) -> float:
    """Call for so long; `rate` per second, or as fast as answers come when it is 0."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    lines = [
        (
            await loop.create_connection(
                lambda: Connection(caller, is_loop=not rate), "127.0.0.1", port
            )
        )[1]
        for _ in range(connections)
    ]
    if rate:
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0, began + number / rate - time.perf_counter()))
            lines[number % connections].call()
    else:
        await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    caller.is_over = True
    await asyncio.sleep(0.3)
    return took


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/management/v1/users/{}/password/_reset")
    parser.add_argument("--form", action="store_true", help="send Django's form")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    caller = Caller(
        path=chosen.path,
        users=chosen.users,
        first=chosen.first,
        token=os.environ["BENCH_TOKEN"],
        is_form=chosen.form,
    )
    took = asyncio.run(
        run(
            caller,
            port=chosen.port,
            seconds=chosen.seconds,
            connections=chosen.connections,
            rate=chosen.rate,
        )
    )
    figures = {
        "calls": len(caller.latencies_ms),
        "refused": caller.refused,
        "per_second": len(caller.latencies_ms) / took,
        "p50_ms": quantile(caller.latencies_ms, 0.5),
        "p99_ms": quantile(caller.latencies_ms, 0.99),
        "sent": caller.sent if chosen.rate else {},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
