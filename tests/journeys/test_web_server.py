"""What the web server does with connections that misbehave, and with requests while it stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.support.waiting import HANG_SECONDS
from web.middleware import BODY_SECONDS

pytestmark = pytest.mark.real_server

CALL = "/management/v1/users/ada/password/_reset"


def say(keyturn, *parts: bytes, seconds: float = HANG_SECONDS, is_cut: bool = False) -> bytes:
    """What the server answers to raw bytes: one answer, or nothing."""
    address = urlsplit(keyturn.url)
    with socket.create_connection((address.hostname, address.port)) as line:
        for part in parts:
            line.sendall(part)
        if is_cut:
            line.shutdown(socket.SHUT_WR)
        line.settimeout(seconds)
        answer = b""
        with contextlib.suppress(TimeoutError):
            while not is_whole(answer) and (more := line.recv(65536)):
                answer += more
        return answer


def is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(blank) and (length is None or len(body) >= int(length[1]))


def pour(keyturn, start: bytes) -> None:
    """Send the start and then 50 MB, come what may."""
    address = urlsplit(keyturn.url)
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(start)
        for _ in range(500):
            line.sendall(b"a" * 100_000)


def head_of(keyturn, *headers: str, target: str = CALL) -> bytes:
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {keyturn.token}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def problem_of(answer: bytes) -> dict[str, object]:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_body_that_broke_off_is_refused_and_sends_nothing(keyturn):
    before = len(list((keyturn.data_dir / "outbox").glob("*")))

    answer = say(keyturn, head_of(keyturn, "Content-Length: 50"), b"{", is_cut=True)

    assert (status_of(answer), problem_of(answer)["code"]) == (400, 3)
    assert len(list((keyturn.data_dir / "outbox").glob("*"))) == before


def test_a_body_that_never_ends_is_refused_in_time(keyturn):
    answer = say(keyturn, head_of(keyturn, "Content-Length: 50"), b"{", seconds=3 * BODY_SECONDS)

    assert (status_of(answer), problem_of(answer)["code"]) == (400, 3)


def test_an_endless_chunked_body_is_refused_at_the_cap(keyturn):
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    answer = say(keyturn, head_of(keyturn, "Transfer-Encoding: chunked"), *[chunk] * 5)

    assert status_of(answer) == 413


def test_stalled_bodies_do_not_keep_others_from_being_served(keyturn):
    address = urlsplit(keyturn.url)
    stalled = [socket.create_connection((address.hostname, address.port)) for _ in range(8)]
    for line in stalled:
        line.sendall(head_of(keyturn, "Content-Length: 50"))

    started_at = time.monotonic()
    status = keyturn.status("/livez")

    assert status == 200
    assert time.monotonic() - started_at < BODY_SECONDS / 2
    for line in stalled:
        line.close()


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\rX-B: c"], ids=["nul", "soh", "cr"])
def test_control_characters_in_a_header_are_refused(value, keyturn):
    head = head_of(keyturn).removesuffix(b"\r\n")

    answer = say(keyturn, head + b"X-A: " + value + b"\r\n\r\n")

    assert status_of(answer) == 400


def test_a_hundred_headers_are_refused(keyturn):
    answer = say(keyturn, head_of(keyturn, *[f"X-{number}: a" for number in range(120)]))

    assert status_of(answer) == 431


def test_a_target_of_100_kib_is_refused(keyturn):
    answer = say(keyturn, head_of(keyturn, target="/" + "a" * 100_000))

    assert status_of(answer) == 414


def test_an_endless_header_is_cut_off(keyturn):
    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        pour(keyturn, head_of(keyturn).removesuffix(b"\r\n") + b"X-A: ")


def test_pipelined_requests_are_answered_one_after_the_other(keyturn):
    address = urlsplit(keyturn.url)
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(request * 3)
        line.settimeout(HANG_SECONDS)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 3:
            answers += line.recv(65536)

    assert answers.count(b"HTTP/1.1 200") == 3


def test_requests_that_have_arrived_are_answered_while_the_server_stops(start_keyturn):
    keyturn = start_keyturn(
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_USER_LIMIT_PER_HOUR="0",
        KEYTURN_USER_LIMIT_PER_DAY="0",
    )
    address, number = urlsplit(keyturn.url), 200
    all_connected = threading.Barrier(number + 1)

    def call(_: int) -> int | str:
        line = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        line.connect()
        all_connected.wait()
        try:
            line.request("POST", CALL, headers={"Authorization": f"Bearer {keyturn.token}"})
            return line.getresponse().status
        except OSError as error:
            return repr(error)
        finally:
            line.close()

    with ThreadPoolExecutor(number) as pool:
        answers = pool.map(call, range(number))
        all_connected.wait()
        time.sleep(0.15)
        os.kill(keyturn.pid_of("web"), signal.SIGTERM)

        assert Counter(answers) == {200: number}
