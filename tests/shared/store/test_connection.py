"""What the client of the store guarantees, judged on a real server."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from statistics import median

import pytest
import redis

from shared.errors import StoreUnavailableError
from shared.store.connection import connect, store_errors
from shared.store.topology.single import RECENT_SECONDS
from tests.support.waiting import HANG_SECONDS, wait_until

pytestmark = pytest.mark.real_server

TIMEOUT_SECONDS = 0.3
LONG_SECONDS = 1.0  # where a wait and none must differ on a busy machine too
SLOW_INCREMENT = """
local number = redis.call('INCR', KEYS[1])
local started = os.clock()
while os.clock() - started < 0.6 do end
return number
"""


class Server:
    """A server of the test's own, with a client of ours and one to look at it with."""

    def __init__(self, start, socket):
        self._start = start
        self.process = start()
        self.url = f"unix://{socket}"
        self.client = connect(self.url, timeout_seconds=TIMEOUT_SECONDS)
        self.admin = redis.Redis(unix_socket_path=str(socket), decode_responses=True)

    def close_connections(self):
        """As `timeout 1` on the server, or a proxy between, does with idle ones."""
        self.admin.client_kill_filter(_type="normal", skipme=True)

    def restart(self):
        self.process.kill()
        self.process.wait(HANG_SECONDS)
        self.process = self._start()

    @contextmanager
    def frozen(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        yield
        os.kill(self.process.pid, signal.SIGCONT)


@pytest.fixture
def server(own_server, tmp_path):
    made = Server(own_server, tmp_path / "own.sock")
    yield made
    made.client.close()
    made.admin.close()


def seconds_until_refused(client):
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError), store_errors():
        client.get("a")
    return time.monotonic() - began


def is_connected(client):
    try:
        return client.ping()
    except redis.RedisError:
        return False


def ways_to_run(command):
    """A command alone, in a pipeline, and in a transaction."""

    def pipelined(client, *, transaction):
        pipeline = client.pipeline(transaction=transaction)
        pipeline.execute_command(*command)
        return pipeline.execute()[0]

    return [
        pytest.param(lambda client: client.execute_command(*command), id="alone"),
        pytest.param(lambda client: pipelined(client, transaction=False), id="pipeline"),
        pytest.param(lambda client: pipelined(client, transaction=True), id="transaction"),
    ]


@pytest.mark.parametrize("run", ways_to_run(("EVAL", SLOW_INCREMENT, 1, "n")))
def test_a_command_whose_reply_is_late_is_sent_once(server, run):
    wait_until(lambda: is_connected(server.client))  # on a busy machine that may be late, too
    with pytest.raises(redis.TimeoutError):
        run(server.client)
    time.sleep(2 * TIMEOUT_SECONDS)  # a second one would run now

    assert server.admin.get("n") == "1"


@pytest.mark.parametrize("run", ways_to_run(("BLPOP", "list", 5))[:2])
def test_a_command_whose_connection_is_lost_is_sent_once(server, run):
    with connect(server.url) as client:
        errors = []

        def wait_for_an_element():
            try:
                run(client)
            except redis.ConnectionError as error:
                errors.append(error)

        thread = threading.Thread(target=wait_for_an_element)
        thread.start()
        wait_until(lambda: server.admin.info("clients")["blocked_clients"] == 1)
        server.close_connections()
        thread.join(HANG_SECONDS)

    assert len(errors) == 1
    assert server.admin.info("clients")["blocked_clients"] == 0


@pytest.mark.parametrize("run", ways_to_run(("INCR", "n")))
def test_a_connection_closed_while_idle_is_replaced(server, run):
    assert run(server.client) == 1
    server.close_connections()
    time.sleep(RECENT_SECONDS)

    assert run(server.client) == 2


def test_when_connections_close_in_use_at_most_one_command_fails(server):
    server.client.set("a", "1")
    at_once = threading.Barrier(4)
    threads = [threading.Thread(target=lambda: at_once.wait() and server.client.get("a"))
               for _ in range(4)]  # fmt: skip
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    server.close_connections()

    failures = 0
    for _ in range(6):
        try:
            assert server.client.get("a") == "1"
        except redis.ConnectionError:
            failures += 1

    assert failures <= 1


def test_an_error_of_the_server_leaves_the_connection_in_use(server):
    server.client.set("a", "text")
    number = server.client.client_id()

    with pytest.raises(redis.ResponseError):
        server.client.incr("a")

    assert server.client.client_id() == number


@pytest.mark.parametrize("run", ways_to_run(("GET", "a")))
def test_a_server_that_is_away_is_an_error_and_one_that_is_back_answers(server, run):
    server.client.set("a", "1")
    server.process.kill()
    server.process.wait(HANG_SECONDS)
    with pytest.raises(redis.ConnectionError):
        run(server.client)

    server.restart()

    assert run(server.client) is None


def test_a_frozen_server_costs_a_caller_the_timeout(server):
    with connect(server.url, timeout_seconds=LONG_SECONDS) as client, server.frozen():
        took = seconds_until_refused(client)

    assert LONG_SECONDS <= took < 3 * LONG_SECONDS


def test_while_a_thread_probes_a_frozen_server_all_callers_are_refused_at_once(server):
    with connect(server.url, timeout_seconds=LONG_SECONDS) as client:
        with server.frozen():
            seconds_until_refused(client)
            took = [seconds_until_refused(client) for _ in range(10)]

        assert median(took) < LONG_SECONDS / 10
        wait_until(lambda: answers(client), seconds=LONG_SECONDS)


def answers(client):
    try:
        client.get("a")
    except redis.RedisError:
        return False
    return True


def test_a_closed_client_probes_no_more(server):
    client = connect(server.url, timeout_seconds=TIMEOUT_SECONDS)
    with server.frozen():
        seconds_until_refused(client)
        client.close()

        wait_until(lambda: not [t for t in threading.enumerate() if t.name == "probe"])
