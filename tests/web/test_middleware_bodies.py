"""Bodies that stall, break off or never end, from a source that behaves as granian's does."""

from __future__ import annotations

import contextlib
import io
import threading
import time

import pytest

from shared.errors import InvalidRequestError, TooManyRequestsError
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS
from web.middleware import GRACE_SECONDS, BodyReaders, TimedBody, with_body_timeout


class StalledSource:
    """Gives nothing until it is let go, as a connection on which nothing comes."""

    def __init__(self):
        self.released = threading.Event()

    def read(self, _size=-1, /):
        self.released.wait(HANG_SECONDS)
        return b""


@pytest.fixture
def stalled():
    source = StalledSource()
    yield source
    source.released.set()


def a_body(source, *, length_bytes=None, seconds=5.0, readers=None):
    return TimedBody(source, readers or BodyReaders(), length_bytes=length_bytes, seconds=seconds)


def wait_for_thread(readers):
    give_up_at = time.monotonic() + HANG_SECONDS
    while time.monotonic() < give_up_at:
        with contextlib.suppress(TooManyRequestsError):
            return a_body(io.BytesIO(b"hello"), length_bytes=5, readers=readers).read(5)
        time.sleep(0.01)
    return None


def test_a_whole_body_is_read_as_it_is():
    body = a_body(io.BytesIO(b'{"type":1}'), length_bytes=10)

    assert body.read() == b'{"type":1}'
    assert body.read() == b""


def test_a_body_without_length_is_read_to_its_end():
    body = a_body(io.BytesIO(b"hello"))

    assert body.read(3) + body.read(3) + body.read(3) == b"hello"


def test_no_more_is_read_than_was_asked_for():
    source = io.BytesIO(b"x" * 100)

    a_body(source, length_bytes=100).read(10)

    assert source.tell() == 10


def test_a_body_that_broke_off_is_no_shorter_body():
    body = a_body(io.BytesIO(b'{"type"'), length_bytes=50)

    with pytest.raises(InvalidRequestError, match="shorter than Content-Length"):
        body.read(50)


def test_a_body_that_stalls_is_given_up_in_time(stalled):
    body = a_body(stalled, length_bytes=5, seconds=0.05)
    started_at = time.monotonic()

    with pytest.raises(InvalidRequestError, match="in time"):
        body.read(5)

    assert time.monotonic() - started_at < SLACK_SECONDS


def test_a_body_that_trickles_has_one_deadline_for_all_of_it():
    class Trickle:
        def read(self, _size=-1, /):
            time.sleep(0.02)
            return b"x"

    body = a_body(Trickle(), length_bytes=1000, seconds=0.1)

    with pytest.raises(InvalidRequestError):
        list(body)


def test_a_broken_connection_is_the_callers_fault():
    class Broken:
        def read(self, _size=-1, /):
            raise ConnectionResetError

    with pytest.raises(InvalidRequestError, match="could not be read"):
        a_body(Broken(), length_bytes=5).read(5)


def test_slow_bodies_cannot_take_all_threads(stalled):
    readers = BodyReaders(max_threads=2)
    for _ in range(2):
        with pytest.raises(InvalidRequestError):
            a_body(stalled, length_bytes=5, seconds=0.02, readers=readers).read(5)

    with pytest.raises(TooManyRequestsError):
        a_body(io.BytesIO(b"hello"), length_bytes=5, readers=readers).read(5)


def test_a_thread_serves_again_once_its_slow_body_has_ended(stalled):
    readers = BodyReaders(max_threads=1)
    with pytest.raises(InvalidRequestError):
        a_body(stalled, length_bytes=5, seconds=0.02, readers=readers).read(5)

    stalled.released.set()

    assert wait_for_thread(readers) == b"hello"


def test_one_thread_is_enough_for_bodies_that_come_one_after_the_other():
    readers = BodyReaders(max_threads=1)

    for _ in range(200):
        body = a_body(io.BytesIO(b"hello"), length_bytes=5, readers=readers)
        assert body.read(5) == b"hello"


def test_lines_are_read_too():
    body = a_body(io.BytesIO(b"a\nbc\nd"), length_bytes=6)

    assert list(body) == [b"a\n", b"bc\n", b"d"]


@pytest.mark.parametrize(
    ("environ", "is_wrapped"),
    [
        ({}, False),
        ({"CONTENT_LENGTH": "5"}, True),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, True),
    ],
    ids=["no body", "length", "chunked"],
)
def test_requests_without_a_body_pay_nothing(environ, is_wrapped):
    seen = []
    app = with_body_timeout(lambda environ, _start: seen.append(environ["wsgi.input"]) or [])

    app({"wsgi.input": io.BytesIO(b"hello"), **environ}, None)

    assert isinstance(seen[0], TimedBody) is is_wrapped


def test_only_so_many_requests_wait_for_slow_bodies(stalled):
    readers = BodyReaders(max_slow=1)
    first = threading.Thread(target=a_body(stalled, readers=readers).read)
    first.start()
    time.sleep(GRACE_SECONDS + 0.05)
    began = time.monotonic()

    with pytest.raises(TooManyRequestsError):
        a_body(stalled, readers=readers).read()

    assert time.monotonic() - began < GRACE_SECONDS + SLACK_SECONDS / 2
    assert a_body(io.BytesIO(b"x"), length_bytes=1, readers=readers).read() == b"x"
    stalled.released.set()
    first.join()
