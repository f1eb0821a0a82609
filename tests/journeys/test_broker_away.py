"""The broker dies, freezes or fills up under a running Keyturn: messages go out all the same."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis
import requests

from tests.journeys.stack import free_ports
from tests.support.provider_stub import ProviderStub
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, wait_until

pytestmark = pytest.mark.real_server

LIVES = {"KEYTURN_USER_COOLDOWN_SECONDS": "0", "KEYTURN_USER_LIMIT_PER_HOUR": "0"}
ARRIVES_SECONDS = 30  # by a sweep; nothing would arrive if the sweepers did not deliver
HINTED_SECONDS = 0.5  # by a hint; a sweep is slower on the average


class Broker:
    """A server beside the store's."""

    def __init__(self, directory):
        self.socket = directory / "broker.sock"
        self.process = start_server(self.socket)

    @property
    def url(self):
        return f"redis+socket://{self.socket}"

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = start_server(self.socket)

    def kill(self):
        self.process.kill()
        self.process.wait(HANG_SECONDS)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def ask(self):
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path)
    yield made
    if made.process.poll() is None:
        made.signal(signal.SIGCONT)
        made.kill()


@pytest.fixture
def stub():
    with ProviderStub(port=free_ports(1)[0]) as running:
        yield running


@pytest.fixture
def open_beside(start_keyturn, stub):
    """A Keyturn whose broker is another server, or its own."""

    def open_one(broker=None):
        return start_keyturn(
            KEYTURN_EMAIL_PROVIDERS="sendgrid",
            KEYTURN_SENDGRID_API_KEY="SG.test",
            KEYTURN_SENDGRID_API_URL=stub.url,
            KEYTURN_BROKER_URL=broker.url if broker else None,
            **LIVES,
        )

    return open_one


def ask(keyturn):
    answer = requests.post(
        f"{keyturn.url}/users/ada/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def arrives(keyturn, stub):
    """Ask, and give how many seconds the message took to the provider."""
    began = time.monotonic()
    reset_id = ask(keyturn)
    wait_until(
        lambda: reset_id in [entry["resetId"] for entry in stub.taken],
        what="the message at the provider",
    )
    return time.monotonic() - began


def test_messages_go_out_while_the_broker_is_gone(open_beside, broker, stub):
    keyturn = open_beside(broker)
    arrives(keyturn, stub)

    broker.kill()

    assert arrives(keyturn, stub) < ARRIVES_SECONDS
    assert keyturn.status("/readyz") == 200
    assert "sweepers deliver by themselves" in keyturn.cli("status").stdout

    broker.start()
    wait_until(
        lambda: keyturn.events("broker.back") and arrives(keyturn, stub) < HINTED_SECONDS,
        what="hints as fast as before",
    )
    wait_until(lambda: "All is well." in keyturn.cli("status").stdout, what="all well")
    assert len(stub.taken) == len({entry["resetId"] for entry in stub.taken})


def test_messages_go_out_while_the_broker_is_frozen(open_beside, broker, stub):
    keyturn = open_beside(broker)
    arrives(keyturn, stub)

    broker.signal(signal.SIGSTOP)
    took = [arrives(keyturn, stub) for _ in range(3)]
    time.sleep(5)
    took.append(arrives(keyturn, stub))
    broker.signal(signal.SIGCONT)

    assert max(took) < ARRIVES_SECONDS
    wait_until(
        lambda: keyturn.events("broker.back") and arrives(keyturn, stub) < HINTED_SECONDS,
        what="hints as fast as before",
    )
    assert len(stub.taken) == len({entry["resetId"] for entry in stub.taken})


def test_a_worker_that_starts_without_a_broker_delivers(open_beside, broker, stub):
    keyturn = open_beside(broker)
    broker.kill()

    keyturn.restart("worker")

    assert arrives(keyturn, stub) < ARRIVES_SECONDS
    assert keyturn.stop() == 0


def test_what_is_being_delivered_without_a_broker_is_finished_before_the_worker_ends(
    open_beside, broker, stub
):
    keyturn = open_beside(broker)
    broker.kill()
    stub.delay_seconds = 2.0

    reset_id = ask(keyturn)
    wait_until(lambda: stub.requests, what="the call to the provider")
    keyturn.restart("worker")

    wait_until(lambda: is_accepted(keyturn, reset_id), seconds=20, what="the outcome in the record")
    time.sleep(2)
    assert [entry["resetId"] for entry in stub.taken] == [reset_id]


def test_a_full_server_sends_what_it_has_and_refuses_what_is_new(open_beside, stub):
    keyturn = open_beside()
    arrives(keyturn, stub)
    stub.delay_seconds = 1.0
    reset_id = ask(keyturn)

    with redis.Redis.from_url(keyturn.redis_url) as admin:
        admin.config_set("maxmemory", "1")
        refused = requests.post(
            f"{keyturn.url}/users/ada/password/_reset",
            headers={"Authorization": f"Bearer {keyturn.token}"},
            timeout=60,
        )
        wait_until(lambda: is_accepted(keyturn, reset_id), what="the outcome in the record")
        admin.config_set("maxmemory", "0")

    assert refused.status_code == 503
    assert "KEYTURN-Unavailable" in refused.text
    assert len([e for e in stub.taken if e["resetId"] == reset_id]) == 1
    wait_until(lambda: arrives(keyturn, stub) < HINTED_SECONDS, what="as fast as before")


def test_a_worker_that_starts_on_a_full_server_sends_what_is_recorded(open_beside, stub):
    keyturn = open_beside()
    arrives(keyturn, stub)
    worker = keyturn.pid_of("worker")
    os.kill(worker, signal.SIGSTOP)
    reset_id = ask(keyturn)

    with redis.Redis.from_url(keyturn.redis_url) as admin:
        admin.config_set("maxmemory", "1")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: is_accepted(keyturn, reset_id), what="the message and its outcome")
        admin.config_set("maxmemory", "0")

    wait_until(lambda: keyturn.events("broker.back"), what="hints arrive again")
    assert [event["status"] for event in keyturn.events("process.ended")] == [-signal.SIGKILL]
    assert len(stub.taken) == 2


def test_a_worker_whose_connections_are_cut_takes_hints_again(open_beside, broker, stub):
    keyturn = open_beside(broker)
    arrives(keyturn, stub)

    for _ in range(5):
        with broker.ask() as admin:
            admin.client_kill_filter(_type="normal", skipme=True)
        arrives(keyturn, stub)

    wait_until(lambda: arrives(keyturn, stub) < HINTED_SECONDS, what="hints as fast as before")
    assert keyturn.events("process.ended") == []
    assert len(stub.taken) == len({entry["resetId"] for entry in stub.taken})


def is_accepted(keyturn, reset_id):
    answer = requests.get(
        f"{keyturn.url}/keyturn/v1/resets/{reset_id}",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    return answer.json()["status"] == "accepted"
