from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from shared.errors import StoreUnavailableError
from shared.store import keys
from shared.store.connection import connect
from tests.support.builders import a_token, a_user
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS, wait_until
from tests.support.wire import Wire, problem
from web.app import create_app

UNAVAILABLE = (503, 14, "KEYTURN-Unavailable")
MAX_SECONDS = 5.0 + SLACK_SECONDS  # five are promised
LIMITS = {"org_limit_per_minute": 100, "caller_limit_per_minute": 100}
HEADERS = [
    pytest.param({}, id="plain"),
    pytest.param({"Idempotency_Key": "k"}, id="with a key"),
]

pytestmark = pytest.mark.real_server


class Server:
    """A server of the test's own, to be hurt."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "hurt.sock"
        self.client = connect(f"unix://{self.socket}")
        self.process = start_server(self.socket)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(HANG_SECONDS)

    def start(self) -> None:
        self.process = start_server(self.socket)

    @contextmanager
    def gone(self):
        """No server; it comes back with what it had."""
        self.client.save()
        self.stop()
        yield
        self.start()

    @contextmanager
    def frozen(self):
        """It takes connections and says nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        yield
        os.kill(self.process.pid, signal.SIGCONT)

    @contextmanager
    def read_only(self):
        """A replica of a server that does not answer."""
        with self.another() as admin:
            admin.replicaof("127.0.0.1", "9")
            yield
            admin.replicaof("NO", "ONE")

    @contextmanager
    def full(self):
        """No room for another byte."""
        with self.another() as admin:
            admin.config_set("maxmemory", "1")
            yield
            admin.config_set("maxmemory", "0")

    def another(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(prefix="keyturn-hurt-") as directory:
        server = Server(Path(directory))
        yield server
        server.client.close()
        server.stop()


HURTS = ["gone", "frozen", "read_only", "full"]


@pytest.mark.parametrize("is_known", [True, False], ids=["caller is known", "fresh process"])
@pytest.mark.parametrize("hurt", HURTS)
@pytest.mark.parametrize("headers", HEADERS)
def test_a_call_that_cannot_be_recorded_leaves_nothing_behind(server, hurt, headers, is_known):
    wire = Wire(server.client, **LIMITS, user_cooldown_seconds=60.0)
    a_user(wire.services, "bob")
    if is_known:
        wire.reset("nobody")
    before = what_stands(server.client)
    began = time.monotonic()

    with getattr(server, hurt)():
        response = wire.reset(**headers)
        took = time.monotonic() - began

    assert problem(response) == UNAVAILABLE
    assert took < MAX_SECONDS
    assert response.headers["Deprecation"]
    time.sleep(0.2)  # a thawed server first does what it was told while it was frozen
    assert what_stands(server.client) == before
    assert wire.hints.published == []
    assert wire.reset("bob", **headers).get_json()["details"]["sequence"] == "1"
    assert wire.reset().get_json()["details"]["sequence"] == "1"


@pytest.mark.parametrize("hurt", ["read_only", "full"])
@pytest.mark.parametrize("headers", HEADERS)
def test_an_older_reset_is_not_overtaken_by_one_that_cannot_be_recorded(server, hurt, headers):
    wire = Wire(server.client)
    older = wire.reset().headers["Keyturn-Reset-Id"]
    before = wire.show(older).get_json()

    with getattr(server, hurt)():
        response = wire.reset(**headers)

    assert problem(response) == UNAVAILABLE
    assert wire.show(older).get_json() == before
    assert len(wire.records()) == 1


class LosesReplies:
    """Records, and loses the first reply on the way back."""

    def __init__(self, resets):
        self.resets, self.is_lost = resets, False

    def __getattr__(self, name):
        return getattr(self.resets, name)

    def record_behind(self, *asked):
        recorded = self.resets.record_behind(*asked)
        if not self.is_lost:
            self.is_lost = True
            raise StoreUnavailableError
        return recorded


def test_a_key_finds_the_reset_whose_reply_was_lost(real_client):
    wire = Wire(real_client, user_cooldown_seconds=60.0)
    lossy = LosesReplies(wire.services.resets)
    wire.app = create_app(dataclasses.replace(wire.services, resets=lossy))

    first, second = wire.reset(Idempotency_Key="k"), wire.reset(Idempotency_Key="k")

    assert problem(first) == UNAVAILABLE
    assert second.get_json()["details"]["sequence"] == "1"
    assert wire.records() == [second.headers["Keyturn-Reset-Id"]]


def what_stands(client):
    """All that calls may leave in the store; the last use of a token is not among it."""
    patterns = (*(f"{tag}:*" for tag in keys.TAGS), f"{keys.GATE}:*", "kt:idem:*")
    return sorted(key for pattern in patterns for key in client.keys(pattern))


@pytest.mark.parametrize("hurt", ["read_only", "full"])
def test_an_answer_that_was_given_is_given_again_though_nothing_can_be_written(server, hurt):
    wire = Wire(server.client, **LIMITS)
    first = wire.reset(Idempotency_Key="k")

    with getattr(server, hurt)():
        second = wire.reset(Idempotency_Key="k")

    assert second.status_code == 200
    assert second.get_json() == first.get_json()


@pytest.mark.parametrize("hurt", ["read_only", "full"])
def test_resets_are_shown_though_nothing_can_be_written(server, hurt):
    wire = Wire(server.client)
    reset_id = wire.reset().headers["Keyturn-Reset-Id"]

    with getattr(server, hurt)():
        response = wire.show(reset_id)

    assert response.status_code == 200


@pytest.mark.parametrize("hurt", ["gone", "frozen"])
def test_the_status_call_says_so_when_the_store_does_not_answer(server, hurt):
    wire = Wire(server.client)
    reset_id = wire.reset().headers["Keyturn-Reset-Id"]

    with getattr(server, hurt)():
        response = wire.show(reset_id)

    assert problem(response) == UNAVAILABLE
    wait_until(lambda: wire.show(reset_id).status_code == 200, what="the server found again")


@pytest.mark.parametrize("hurt", HURTS)
def test_what_is_wrong_with_the_request_is_told_first(server, hurt):
    wire = Wire(server.client)

    with getattr(server, hurt)():
        body, header = wire.reset(body=b"x"), wire.call("/users/ada/password/_reset")

    assert problem(body) == (400, 3, None)
    assert problem(header) == (401, 16, None)


class FreezesBeforeRecording:
    """The server stands still before it reads the gate and the record."""

    def __init__(self, resets, server):
        self.resets, self.server = resets, server

    def __getattr__(self, name):
        return getattr(self.resets, name)

    def record_behind(self, *asked):
        os.kill(self.server.process.pid, signal.SIGSTOP)
        return self.resets.record_behind(*asked)


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("knows_clock", [True, False])
def test_what_a_thawed_server_reads_too_late_is_not_recorded(server, headers, knows_clock):
    wire = Wire(server.client, user_cooldown_seconds=60.0)
    services = wire.services
    if knows_clock:
        a_user(services, "grace")
        assert wire.reset("grace").status_code == 200
        server.client.delete(*[keys.reset(each) for each in wire.records()])
    freezing = FreezesBeforeRecording(services.resets, server)
    wire.app = create_app(dataclasses.replace(services, resets=freezing))

    response = wire.reset(**headers)
    os.kill(server.process.pid, signal.SIGCONT)
    time.sleep(0.2)

    assert problem(response) == UNAVAILABLE
    assert wire.records() == []
    wire.app = create_app(services)
    assert wire.reset(**headers).get_json()["details"]["sequence"] == "1"


def test_callers_wait_no_longer_when_there_are_more_of_them(server):
    wire = Wire(server.client)

    with server.frozen(), ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        answers = list(threads.map(lambda _: problem(wire.reset()), range(60)))
        took = time.monotonic() - began

    assert answers == [UNAVAILABLE] * 60
    assert took < MAX_SECONDS
    wait_until(lambda: wire.reset().status_code == 200, what="the server found again")


def test_a_frozen_server_does_not_queue_callers_behind_each_other(server):
    wire = Wire(server.client)
    token = a_token(wire.services, "ORG_OWNER")
    began = time.monotonic()

    with server.frozen(), ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: problem(wire.reset(token=token)), range(8)))

    assert answers == [UNAVAILABLE] * 8
    assert time.monotonic() - began < MAX_SECONDS
