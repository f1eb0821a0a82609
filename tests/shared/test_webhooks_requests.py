"""A webhook as a subscriber gets it, judged by the official package of Standard Webhooks."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Judge

from shared.providers.transport import sockets
from shared.providers.transport.signing import sign
from shared.store.webhooks.deliveries import Webhook
from shared.webhooks import Subscribers, build_body, read_url
from tests.support.subscriber_stub import SubscriberStub
from tests.support.waiting import SLACK_SECONDS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime(2026, 11, 23, 12, 0, 0, 123000, tzinfo=UTC)
WEBHOOK = Webhook(
    "hook_1", "3abc", "undelivered", AT, "ada", "acme", "email", "undelivered", "bounce"
)


@pytest.fixture
def subscriber():
    with SubscriberStub() as stub:
        yield stub


@pytest.fixture
def a_caller():
    made = []

    def make(**fields):
        made.append(Subscribers(**{"allow_private": True, "timeout_seconds": 2} | fields))
        return made[-1]

    yield make
    for each in made:
        each.close()


def call(caller, url, body=b"{}"):
    return caller.call(url, SECRET, webhook_id="msg_1", body=body)


def test_a_call_is_signed_as_the_standard_says(a_caller, subscriber):
    reply = call(a_caller(), subscriber.url, build_body(WEBHOOK))

    assert reply.is_taken
    headers, body = subscriber.calls[0]
    assert headers[":path"] == "/hook?from=keyturn"
    assert headers["content-type"] == "application/json"
    assert Judge(SECRET).verify(body, headers) == json.loads(build_body(WEBHOOK))


def test_a_signature_is_the_one_of_the_official_package():
    body = '{"text": "ä"}'

    signature = sign(SECRET, "msg_1", 1_764_000_000, body.encode())

    at = datetime.fromtimestamp(1_764_000_000, UTC)
    assert signature == Judge(SECRET).sign("msg_1", at, body)


def test_a_body_holds_ids_and_words_and_nothing_else():
    assert json.loads(build_body(WEBHOOK)) == {
        "type": "reset.undelivered",
        "timestamp": "2026-11-23T12:00:00.123Z",
        "data": {
            "resetId": "3abc",
            "userId": "ada",
            "orgId": "acme",
            "channel": "email",
            "status": "undelivered",
            "reason": "bounce",
            "at": "2026-11-23T12:00:00.123Z",
        },
    }


def test_a_redirect_is_not_followed(a_caller, subscriber):
    subscriber.answer_with([302])
    subscriber.headers["Location"] = subscriber.url

    reply = call(a_caller(), subscriber.url)

    assert (reply.is_taken, reply.reason) == (False, "http_302")
    assert len(subscriber.calls) == 1


def test_a_subscriber_may_say_how_long_to_wait(a_caller, subscriber):
    subscriber.answer_with([503])
    subscriber.headers["Retry-After"] = "120"

    assert call(a_caller(), subscriber.url).retry_after_seconds == 120


def test_a_slow_subscriber_costs_the_timeout_and_no_more(a_caller, subscriber):
    subscriber.delay_seconds = 6.0
    began = time.monotonic()

    reply = call(a_caller(timeout_seconds=0.3), subscriber.url)

    assert reply.reason == "answer_timeout"
    assert time.monotonic() - began < SLACK_SECONDS


def test_one_that_never_stops_answering_is_cut_off(a_caller):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):  # cut off
                line.recv(65536)
                line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                for _ in range(200):
                    time.sleep(0.05)
                    line.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began = time.monotonic()
        reply = call(a_caller(timeout_seconds=0.4), f"http://127.0.0.1:{server.getsockname()[1]}/")
        took = time.monotonic() - began
        thread.join()

    assert reply.is_taken  # it said so
    assert took < SLACK_SECONDS


def test_a_private_address_is_refused_when_the_connection_is_made(a_caller, subscriber):
    reply = call(a_caller(allow_private=False), subscriber.url)

    assert reply.reason == "connect_forbidden"
    assert subscriber.calls == []


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    a_caller, subscriber, monkeypatch
):
    port = int(subscriber.url.split(":")[2].split("/")[0])
    asked = []

    def changing(host, port, flags):
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(sockets, "_resolver", sockets.Resolver(changing))
    judged = []
    caller = a_caller()
    caller._may_reach = lambda address: judged.append(address) or address == "127.0.0.1"

    reply = call(caller, f"http://hooks.example.com:{port}/")

    assert reply.is_taken
    assert (asked, judged) == (["hooks.example.com"], ["127.0.0.1"])
    assert subscriber.calls[0][0]["host"] == f"hooks.example.com:{port}"


def test_a_name_with_public_and_private_addresses_is_reached_at_the_public_ones_alone(
    a_caller, monkeypatch
):
    def both(_host, port, flags):
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("10.0.0.1", "127.0.0.1", "192.168.0.1")
        ]

    monkeypatch.setattr(sockets, "_resolver", sockets.Resolver(both))

    assert call(a_caller(allow_private=False), "https://mixed.example.com/").reason == (
        "connect_forbidden"
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.com/", "https"),
        ("ftp://hooks.example.com/", "must be a URL"),
        ("https://", "must be a URL"),
        ("hooks.example.com", "must be a URL"),
        ("https://hooks.example.com:0/", "must be a URL"),
        ("https://hooks.example.com:99999/", "must be a URL"),
        ("https://eve:secret@hooks.example.com/", "password"),
        ("https://hooks.example.com/#x", "fragment"),
        ("https://hooks.example.com/a b", "blanks"),
        ("https://hooks.example.com/\r\nX: y", "blanks"),
        ("https://höoks.example.com/", "ASCII"),
        ("https://hooks.example.com/" + "x" * 500, "500"),
        ("https://127.0.0.1/", "private"),
        ("https://2130706433/", "private"),
        ("https://[::1]/", "private"),
        ("https://10.0.0.1:8443/x", "private"),
        ("https://localhost/", "private"),
    ],
)
def test_what_nothing_may_be_sent_to_is_refused_at_once(url, why):
    with pytest.raises(ValueError, match=why):
        read_url(url, allow_private=False)


def test_private_addresses_are_taken_where_they_are_allowed():
    assert read_url("http://10.0.0.1:8080/x", allow_private=True) == "http://10.0.0.1:8080/x"
    assert read_url("https://a.example/x", allow_private=False) == "https://a.example/x"
