"""The transport where no request got through: surely not sent, and never longer than told."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from shared.errors import TransientProviderError
from shared.providers.transport.http import Transport
from shared.providers.transport.sockets import Deadline, Resolver
from tests.support.provider_stub import ProviderStub
from tests.support.tls_contexts import client_context, server_context
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS

TIMEOUT_SECONDS = 0.5


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def call(transport, body=b"{}"):
    return transport.call("POST", "/anything", headers={"X-A": "b"}, body=body)


def test_a_refused_connection_was_not_sent():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    transport = Transport(f"http://127.0.0.1:{port}", timeout_seconds=TIMEOUT_SECONDS)

    with pytest.raises(TransientProviderError) as caught:
        call(transport)

    assert caught.value.reason == "connect_refused"


def test_an_unknown_name_was_not_sent():
    transport = Transport("http://nobody.invalid", timeout_seconds=TIMEOUT_SECONDS)

    with pytest.raises(TransientProviderError) as caught:
        call(transport)

    assert caught.value.reason in ("connect_dns", "connect_timeout")


def test_a_certificate_nobody_vouches_for_was_not_sent(authority):
    with ProviderStub(tls=server_context(authority)) as stub:
        transport = Transport(stub.url, timeout_seconds=2)

        with pytest.raises(TransientProviderError) as caught:
            call(transport)

    assert caught.value.reason == "connect_tls"
    assert stub.requests == []


def test_a_certificate_for_another_host_was_not_sent(authority):
    with ProviderStub(tls=server_context(authority)) as stub:
        url = stub.url.replace("127.0.0.1", "localhost")
        transport = Transport(url, timeout_seconds=2, tls=client_context(authority))

        with pytest.raises(TransientProviderError) as caught:
            call(transport)

    assert caught.value.reason in ("connect_tls", "connect_refused")


def test_a_peer_that_never_shakes_hands_was_not_sent(authority):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}"
        transport = Transport(url, timeout_seconds=TIMEOUT_SECONDS, tls=client_context(authority))

        with pytest.raises(TransientProviderError) as caught:
            call(transport)

    assert caught.value.reason == "connect_timeout"


def test_a_peer_that_stops_reading_was_not_sent_in_full():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        transport = Transport(url, timeout_seconds=TIMEOUT_SECONDS)

        started = time.monotonic()
        with pytest.raises(TransientProviderError) as caught:
            call(transport, b"x" * 20_000_000)
        took = time.monotonic() - started

    assert took < TIMEOUT_SECONDS + SLACK_SECONDS
    assert caught.value.reason == "write_timeout"


def test_everybody_waits_for_the_same_look_up_and_no_longer_than_told():
    asked, over = [], threading.Event()

    def look_up(host, port, flags):
        if flags:
            raise socket.gaierror
        asked.append(host)
        over.wait(HANG_SECONDS)
        return []

    resolver = Resolver(look_up)

    def ask(_):
        with pytest.raises(TimeoutError):
            resolver.addresses("slow.example", 443, Deadline(0.1))

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    over.set()

    assert asked == ["slow.example"]
    assert time.monotonic() - started < 0.1 + SLACK_SECONDS
