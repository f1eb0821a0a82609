"""The ASGI application alone: a few lines of WSGI behind it, and a caller made of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.waiting import HANG_SECONDS
from web.middleware import BODY_ERROR
from web.server import asgi as module
from web.server.asgi import AsgiApplication


def a_scope(*headers: tuple[bytes, bytes], method="POST", path=b"/x") -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "http_version": "1.1",
        "raw_path": path,
        "query_string": b"",
        "scheme": "http",
        "server": ("127.0.0.1", "80"),
        "client": ("127.0.0.1", "1"),
        "headers": [(b"host", b"x"), *headers],
    }


CHUNKED = (b"transfer-encoding", b"chunked")


def a_piece(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


class Caller:
    """Sends its pieces, then nothing; keeps what it is sent, `most` messages of it."""

    def __init__(self, *pieces: dict[str, object], most: int = 1000) -> None:
        self._pieces = list(pieces)
        self._most = most
        self.told: list[dict[str, object]] = []

    async def receive(self):
        if not self._pieces:
            await asyncio.Event().wait()
        return self._pieces.pop(0)

    async def send(self, message) -> None:
        if len(self.told) >= self._most:
            await asyncio.Event().wait()
        self.told.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.told)


def echo(environ, start_response):
    start_response("200 OK", [])
    return [repr(environ.get(BODY_ERROR) or environ["wsgi.input"].read()).encode()]


def ask(asgi_app: AsgiApplication, *callers: Caller, scope=None) -> None:
    async def all_of_them():
        calls = [asgi_app(scope or a_scope(CHUNKED), each.receive, each.send) for each in callers]
        await asyncio.wait_for(asyncio.gather(*calls), HANG_SECONDS)

    asyncio.run(all_of_them())


def test_pieces_are_put_together():
    caller = Caller(a_piece(b"a"), a_piece(b""), a_piece(b"bc"), a_piece(b"", more=False))

    ask(AsgiApplication(echo, threads=1), caller)

    assert caller.body == b"b'abc'"


def test_a_break_is_no_end():
    caller = Caller(a_piece(b"abc"), {"type": "http.disconnect"})

    ask(AsgiApplication(echo, threads=1), caller)

    assert b"broke off" in caller.body


def test_the_slowest_bodies_give_way_when_all_hold_too_much(monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 100_000)
    slow = [Caller(a_piece(b"x" * 60_000)) for _ in range(3)]
    quick = Caller(a_piece(b"x" * 60_000), a_piece(b"y", more=False))
    asgi_app = AsgiApplication(echo, threads=1)

    async def all_of_them():
        under_way = []
        for caller in [*slow, quick]:
            call = asgi_app(a_scope(CHUNKED), caller.receive, caller.send)
            under_way.append(asyncio.ensure_future(call))
            await asyncio.sleep(0.05)
        await asyncio.wait_for(under_way[-1], module.BODY_SECONDS / 2)
        await asyncio.wait_for(asyncio.gather(*under_way), HANG_SECONDS)

    asyncio.run(all_of_them())

    assert quick.body.endswith(b"xy'")
    assert all(b"in time" in caller.body for caller in slow)


def test_what_a_body_held_is_given_back(monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 100_000)
    asgi_app = AsgiApplication(echo, threads=1)

    for _ in range(5):
        caller = Caller(a_piece(b"x" * 60_000, more=False))
        ask(asgi_app, caller)
        assert caller.body.startswith(b"b'xx")


def test_a_long_answer_is_made_as_fast_as_it_is_taken():
    made: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"x"

    def app(_environ, start_response):
        start_response("200 OK", [])
        return pieces()

    caller = Caller(most=4)
    asgi_app = AsgiApplication(app, threads=1)

    async def until_stuck():
        call = asyncio.ensure_future(asgi_app(a_scope(method="GET"), caller.receive, caller.send))
        await asyncio.sleep(0.2)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    asyncio.run(until_stuck())

    assert len(made) < 10


def test_an_answer_ends_when_its_caller_is_gone():
    closed: list[bool] = []

    class Endless:
        def __iter__(self):
            return self

        def __next__(self):
            return b"x"

        def close(self):
            closed.append(True)

    def app(_environ, start_response):
        start_response("200 OK", [])
        return Endless()

    ask(
        AsgiApplication(app, threads=1),
        Caller({"type": "http.disconnect"}),
        scope=a_scope(method="GET"),
    )

    assert closed == [True]


def test_an_error_of_the_application_reaches_the_server():
    def app(_environ, _start_response):
        raise LookupError

    with pytest.raises(LookupError):
        ask(AsgiApplication(app, threads=1), Caller(), scope=a_scope(method="GET"))
