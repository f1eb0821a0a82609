"""gRPC-Web and Connect on the real web server: bodies that come in pieces, stall or never end."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.rpc import V1, Notification

pytestmark = pytest.mark.real_server
CHUNK = b"4000\r\n" + b" " * 0x4000 + b"\r\n"


def post(keyturn, data, kind="application/json"):
    headers = {"Authorization": f"Bearer {keyturn.token}", "Content-Type": kind}
    return requests.post(keyturn.url + V1, data=data, headers=headers, timeout=60)


def say(keyturn, *parts: bytes) -> tuple[int, dict[str, object]]:
    """HTTP status and JSON of what raw bytes are answered with."""
    address = urlsplit(keyturn.url)
    with socket.create_connection((address.hostname, address.port)) as line:
        for part in parts:
            line.sendall(part)
        line.settimeout(20)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        told = answer.status, json.loads(answer.read())
        answer.close()
    return told


def head(keyturn, *headers: str) -> bytes:
    lines = [f"POST {V1} HTTP/1.1", "Host: x", f"Authorization: Bearer {keyturn.token}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *headers, "", ""]).encode()


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web+proto"])
def test_a_chunked_body_is_read(kind, keyturn):
    message = Notification(user_id="ada").SerializeToString()
    body = b'{"userId":"ada"}' if "json" in kind else b"\0\0\0\0\x05" + message

    answer = post(keyturn, iter([body[:3], body[3:]]), kind)

    assert answer.status_code == 200
    assert answer.headers["Keyturn-Reset-Id"]


def test_an_empty_body_is_refused(keyturn):
    answer = post(keyturn, b"")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


def test_an_endless_body_is_refused_at_the_cap(keyturn):
    told = say(keyturn, head(keyturn, "Transfer-Encoding: chunked"), *[CHUNK] * 5)

    assert (told[0], told[1]["code"]) == (429, "resource_exhausted")


def test_a_body_that_stalls_is_refused_in_time(keyturn):
    told = say(keyturn, head(keyturn, "Content-Length: 50"), b"{")

    assert (told[0], told[1]["code"]) == (400, "invalid_argument")
