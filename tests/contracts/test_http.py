"""The transport: what was sent, what was not, and never longer than the call may take."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from shared.errors import DoubtfulProviderError
from shared.providers.transport.http import MAX_ANSWER_BYTES, MAX_IDLE_SECONDS, Transport
from shared.providers.transport.sockets import Deadline
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.tls_contexts import client_context, server_context
from tests.support.waiting import SLACK_SECONDS

TIMEOUT_SECONDS = 0.5


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module", params=["http", "https"])
def served(request, authority):
    """A stub and how to trust it."""
    tls = server_context(authority) if request.param == "https" else None
    with ProviderStub(tls=tls) as stub:
        yield stub, client_context(authority)


@pytest.fixture
def stub(served):
    stub = served[0]
    stub.script.clear()
    stub.requests.clear()
    return stub


@pytest.fixture
def transport(served):
    stub, trust = served
    transport = Transport(stub.url, timeout_seconds=TIMEOUT_SECONDS, tls=trust)
    yield transport
    transport.close()


def call(transport, body=b"{}"):
    return transport.call("POST", "/anything", headers={"X-A": "b"}, body=body)


def test_an_answer_comes_back_whole(stub, transport):
    stub.answers(Answer(201, {"X-Message-Id": "m1"}, '{"sid": "SM1"}'))

    answer = call(transport, b"a body")

    assert (answer.status, answer.headers["x-message-id"]) == (201, "m1")
    assert (answer.body, answer.is_complete) == (b'{"sid": "SM1"}', True)
    assert stub.requests[0].body == b"a body"
    assert stub.requests[0].headers["x-a"] == "b"
    assert stub.requests[0].headers["host"] == f"127.0.0.1:{stub.port}"


def test_a_connection_is_used_again(stub, transport):
    stub.answers(*[Answer(body="x")] * 5)
    before = stub.connections

    for _ in range(5):
        call(transport)

    assert stub.connections == before + 1


def test_many_threads_share_the_connections(stub, transport):
    stub.answers(*[Answer(delay_ms=5)] * 200)
    before = stub.connections

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: call(transport).status, range(200)))

    assert statuses == [200] * 200
    assert stub.connections <= before + 16


def test_a_kept_connection_the_peer_closed_is_replaced_before_writing(stub, transport):
    stub.answers(Answer(how="close"), Answer())
    call(transport)
    time.sleep(0.05)

    answer = call(transport)

    assert answer.status == 200
    assert len(stub.requests) == 2


@pytest.mark.parametrize("how", ["hang", "drip", "endless_headers"])
def test_no_answer_in_time_is_doubt_at_the_deadline(stub, transport, how):
    stub.answers(Answer(body="x" * 200, how=how))

    started = time.monotonic()
    with pytest.raises(DoubtfulProviderError) as caught:
        call(transport)
    took = time.monotonic() - started

    assert caught.value.reason == "answer_timeout"
    assert TIMEOUT_SECONDS <= took < TIMEOUT_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize(("how", "reason"), [("cut", "answer_cut"), ("garbage", "answer_garbage")])
def test_a_cut_or_garbled_answer_is_doubt(stub, transport, how, reason):
    stub.answers(Answer(how=how))

    with pytest.raises(DoubtfulProviderError) as caught:
        call(transport)

    assert caught.value.reason == reason


def test_a_cut_body_is_told_beside_the_status(stub, transport):
    stub.answers(Answer(202, body="part", how="cut_body"))

    answer = call(transport)

    assert (answer.status, answer.is_complete) == (202, False)


def test_an_interim_status_never_shifts_the_answers(stub, transport):
    stub.answers(Answer(500, how="early_hints"), Answer(202))

    statuses = [call(transport).status for _ in range(2)]

    assert statuses == [103, 202]


def test_an_endless_body_is_read_only_so_far(stub, transport):
    stub.answers(Answer(how="huge_body"))

    answer = call(transport)

    assert not answer.is_complete
    assert len(answer.body) <= MAX_ANSWER_BYTES + 1


def test_the_status_counts_when_the_body_outlasts_the_deadline(authority):
    peer = socket.create_server(("127.0.0.1", 0))

    def answer_slowly():
        sock, _ = peer.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 202 Taken\r\nContent-Length: 100\r\n\r\nx")
            sock.recv(1)

    thread = threading.Thread(target=answer_slowly)
    thread.start()
    transport = Transport(
        f"http://127.0.0.1:{peer.getsockname()[1]}", timeout_seconds=TIMEOUT_SECONDS
    )

    answer = call(transport)

    thread.join()
    peer.close()
    assert (answer.status, answer.is_complete) == (202, False)


def test_a_header_of_two_lines_is_never_written(stub, transport):
    with pytest.raises(ValueError, match="one line"):
        transport.call("POST", "/", headers={"X-A": "b\r\nX-Injected: c"})

    assert stub.requests == []


def test_a_connection_idle_for_too_long_is_not_used_again(stub, transport):
    stub.answers(Answer(), Answer())
    call(transport)
    before = stub.connections
    line, idle_since = transport._idle.pop()
    transport._idle.append((line, idle_since - MAX_IDLE_SECONDS))

    call(transport)

    assert stub.connections == before + 1


def test_a_deadline_that_passed_says_so():
    deadline = Deadline(0)

    with pytest.raises(TimeoutError):
        deadline.remaining_seconds()
