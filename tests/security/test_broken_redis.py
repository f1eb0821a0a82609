"""A store that lost its data or takes no writes, and a broker that holds what is no hint."""

from __future__ import annotations

import pytest
import redis

from shared.store import keys
from tests.support.broker_messages import POISON, SECRET_TEXT, a_message
from tests.support.waiting import wait_until
from tests.support.worker_process import WorkerProcess
from tests.web.admin.test_status import Watched

pytestmark = pytest.mark.real_server


@pytest.fixture
def server(own_server, tmp_path):
    """A client of a server of this test's own."""
    own_server()
    with redis.Redis(unix_socket_path=str(tmp_path / "own.sock"), decode_responses=True) as client:
        yield client


@pytest.fixture
def start_worker(tmp_path):
    """Starts a worker process on that server."""
    started = []

    def start(**settings):
        started.append(WorkerProcess(tmp_path / "own.sock", **settings).wait_ready())
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def counted(server, name):
    return int(server.hget(keys.counters(keys.TAGS[0]), name) or 0)


def test_what_is_no_hint_is_dropped_counted_and_told_and_ends_no_worker(server, start_worker):
    worker = start_worker()

    for queue in ("urgent", "receipts"):
        server.lpush(queue, a_message(), *POISON.values(), a_message("0last"))

    wait_until(
        lambda: counted(server, "unread") >= 2 * len(POISON) or not worker.is_running(),
        what="all of it counted",
    )
    assert worker.is_running(), worker.log()[-2000:]
    assert counted(server, "unread") == 2 * len(POISON)
    assert counted(server, "ws:urgent") == 1
    lines = worker.events("hint.unreadable")
    assert sum(line["number"] for line in lines) == 2 * len(POISON)
    assert SECRET_TEXT not in worker.log()
    assert server.exists("unacked", "urgent", "receipts") == 0


@pytest.mark.parametrize("channel", ["/0.celery.pidbox", "/0.celeryev/worker.heartbeat"])
def test_nor_does_what_comes_by_another_way(server, start_worker, channel):
    worker = start_worker()

    for item in POISON.values():
        server.publish(channel, item)
    server.lpush("urgent", a_message(task="nothing of ours"))

    wait_until(lambda: counted(server, "unread") or not worker.is_running(), what="the last one")
    assert worker.is_running(), worker.log()[-2000:]


def test_status_tells_of_workers_that_start_again_and_again_and_of_what_was_dropped(real_client):
    watched = Watched(real_client)
    watched.sample(seconds_ago=290)
    for number in range(3):
        watched.services.dues.heartbeat(f"bulk,webhooks again-{number}")
        watched.services.dues.deregister(f"bulk,webhooks again-{number}")
    watched.services.counters.add("unread", 7)

    told = watched.told()

    bulk = next(each for each in told["queues"] if each["queue"] == "bulk")
    assert bulk["started"] == 3
    restarts, webhooks, dropped = told["troubles"]
    assert restarts.startswith("Workers of the bulk queue started 3 times")
    assert webhooks.startswith("Workers of the webhooks queue started 3 times")
    assert dropped.startswith("7 messages in the broker were no hints")


def test_status_is_quiet_about_workers_that_were_restarted_once(real_client):
    watched = Watched(real_client)
    watched.sample(seconds_ago=290)
    watched.services.dues.heartbeat("urgent,receipts again-1")

    assert watched.told()["troubles"] == []
