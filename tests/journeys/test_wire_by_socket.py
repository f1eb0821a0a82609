"""The v1 call as bytes on a socket of the real server: what comes back is JSON, and in time."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import urlsplit

import pytest

from tests.support.waiting import HANG_SECONDS
from web.middleware import BODY_SECONDS

pytestmark = pytest.mark.real_server

PREFIXED = "/management/v1/users/ada/password/_reset"
BARE = "/users/ada/password/_reset"
CAP_BYTES = 64 * 1024
THREADS = 20


class Answer:
    """The first answer in some bytes, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = dict(line.lower().split(": ", 1) for line in lines)

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, int]:
        return self.status, self.json["code"]


def ask(keyturn, request: bytes, *, is_cut: bool = False, seconds: float = HANG_SECONDS) -> Answer:
    address = urlsplit(keyturn.url)
    with socket.create_connection((address.hostname, address.port), timeout=seconds) as line:
        line.sendall(request)
        if is_cut:
            line.shutdown(socket.SHUT_WR)
        raw = b""
        while not is_whole(raw) and (piece := line.recv(65536)):
            raw += piece
    return Answer(raw)


def is_whole(raw: bytes) -> bool:
    head, separator, body = raw.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(separator) and len(body) >= int(length or 0)


def a_call(keyturn, *headers: str, body: bytes = b"", method="POST", path=PREFIXED) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {keyturn.token}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def announced(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("path", [PREFIXED, BARE], ids=["prefixed", "bare"])
@pytest.mark.parametrize("size", [CAP_BYTES, CAP_BYTES + 1], ids=["64 KiB", "one byte more"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_is_read_up_to_64_kib(keyturn, path, size, is_chunked):
    body = b"{" + b" " * (size - 2) + b"}"
    header = "Transfer-Encoding: chunked" if is_chunked else announced(body)

    answer = ask(
        keyturn, a_call(keyturn, header, path=path, body=chunked(body) if is_chunked else body)
    )

    if size == CAP_BYTES:
        assert answer.json["details"]["resourceOwner"] == "demo"
    else:
        assert answer.problem == (413, 8)
        assert "details" not in answer.json
    assert answer.headers["deprecation"] == "@1735689600"
    assert answer.headers["cache-control"] == "no-store"


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(keyturn):
    answer = ask(keyturn, a_call(keyturn, "Content-Length: 9000000000000000000"))

    assert answer.problem == (413, 8)


STALLED = [
    ("Content-Length: 10", b'{"ty'),
    ("Transfer-Encoding: chunked", b"5\r\n     \r\n"),
    ("Content-Length: 10", b""),
]


def test_bodies_that_never_end_are_answered_in_time_and_keep_nobody_waiting(keyturn):
    requests = [a_call(keyturn, header, body=body) for header, body in STALLED] * 7

    with ThreadPoolExecutor(len(requests)) as threads:
        stalled = [
            threads.submit(ask, keyturn, each, seconds=3 * BODY_SECONDS) for each in requests
        ]
        time.sleep(0.2)
        began = time.monotonic()
        others = [ask(keyturn, a_call(keyturn)).status for _ in range(3)]
        took = time.monotonic() - began

        problems = {future.result().problem for future in stalled}

    assert others == [200] * 3
    assert took < BODY_SECONDS / 2
    assert problems == {(400, 3)}


BROKEN = {
    "announced": ("Content-Length: 10", b'{"type":'),
    "announced and complete as JSON": ("Content-Length: 10", b"{}"),
    "announced and empty": ("Content-Length: 10", b""),
    "chunked": ("Transfer-Encoding: chunked", b'8\r\n{"type":\r\n'),
}


@pytest.mark.parametrize(("header", "body"), BROKEN.values(), ids=BROKEN)
def test_a_body_that_breaks_off_is_refused(keyturn, header, body):
    answer = ask(keyturn, a_call(keyturn, header, body=body), is_cut=True)

    assert answer.problem == (400, 3)


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_a_wrong_method_is_told_as_json(keyturn, method):
    answer = ask(keyturn, a_call(keyturn, method=method))

    assert answer.problem == (405, 12)
    assert answer.headers["allow"] == "post"


PATHS = {
    "encoded slash": "/users/a%2Fb/password/_reset",
    "trailing slash": BARE + "/",
    "empty id": "/users//password/_reset",
    "asterisk": "*",
    "nothing": "/nothing",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_an_unknown_path_is_told_as_json(keyturn, path):
    assert ask(keyturn, a_call(keyturn, path=path)).problem == (404, 5)


@pytest.mark.parametrize("user", ["a%00b", "a%0Ab", "a%zzb", "%ff", "%20", "..", "\xc3\xa4"])
def test_a_strange_user_is_unknown(keyturn, user):
    answer = ask(keyturn, a_call(keyturn, path=f"/users/{user}/password/_reset"))

    assert answer.problem == (400, 9)


def test_an_unread_body_is_not_taken_for_the_next_request(keyturn):
    inner = a_call(keyturn, "Content-Length: 0", "X-Request-Id: smuggled")
    outer = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
        b"/nothing",
        len(inner),
    )
    address = urlsplit(keyturn.url)

    with socket.create_connection((address.hostname, address.port), timeout=1) as line:
        line.sendall(outer + inner + a_call(keyturn, "X-Request-Id: second"))
        raw = b""
        while b"x-request-id: second" not in raw.lower() and (piece := line.recv(65536)):
            raw += piece

    assert b"404 Not Found" in raw
    assert b"smuggled" not in raw


def test_many_with_one_key_get_one_answer(keyturn):
    barrier = Barrier(THREADS)

    def call(_):
        barrier.wait()
        return ask(keyturn, a_call(keyturn, "Idempotency-Key: by-socket"))

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(call, range(THREADS)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["keyturn-reset-id"] for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
