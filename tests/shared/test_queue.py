"""Hints: only an id, the message Celery itself would write, and never a wait for the broker."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from celery.contrib.testing.worker import start_worker

from shared.broker import HINT_LIFETIME_SECONDS
from shared.errors import BrokerAwayError
from shared.models import Channel, Queue
from shared.queue import (
    MAX_AT_ONCE,
    MAX_WAITING,
    SENDING,
    HintPublisher,
    Task,
    hint_at,
    hint_at_many,
    make_celery,
)
from shared.settings import Settings
from shared.store.scripts import Scripts
from tests.support.waiting import SLACK_SECONDS, wait_until
from worker.tasks import TaskDependencies, register_tasks

# The store's own server is the broker here.
pytestmark = [pytest.mark.real_server, pytest.mark.one_server]

RESET_ID = "0abcdefghijklmnopqrstuvwxyz"
WAIT_SECONDS = 3  # of a connection to Redis
OWN = {"id", "root_id", "origin"}  # of one message alone


class Deliveries:
    """What the tasks hand their ids to."""

    def __init__(self):
        self.ids = []

    def deliver(self, reset_id):
        self.ids.append(reset_id)


@pytest.fixture
def app(real_redis_url, real_client):
    return an_app(real_redis_url)


def an_app(url):
    app = make_celery(Settings(redis_url=url, data_dir=Path("/nonexistent")))
    app.conf.worker_hijack_root_logger = False
    return app


@contextmanager
def publishing(app):
    publisher = HintPublisher(app)
    yield publisher
    publisher.close()


def a_hint(reset_id=RESET_ID, channel=Channel.EMAIL, queue=Queue.URGENT):
    return hint_at(reset_id, channel, queue)


def messages(client, queue=Queue.URGENT):
    """What lies in the broker, bodies decoded, oldest first."""
    found = [json.loads(text) for text in client.lrange(queue.value, 0, -1)][::-1]
    for message in found:
        message["body"] = json.loads(base64.b64decode(message["body"]))
    return found


def published(client, app, *hints):
    with publishing(app) as publisher:
        for hint in hints:
            publisher.publish(hint)
    return messages(client)


def test_the_tasks_are_those_the_queue_names():
    app = an_app("redis://127.0.0.1:1")
    register_tasks(app, TaskDependencies())

    assert {n for n in app.tasks if not n.startswith("celery.")} == set(Task)


@pytest.mark.parametrize("channel", Channel)
def test_a_hint_is_the_message_celery_itself_would_write(real_client, app, channel):
    app.send_task(
        SENDING[channel].value,
        (RESET_ID,),
        queue=Queue.URGENT.value,
        expiration=HINT_LIFETIME_SECONDS,
        retry=False,
        ignore_result=True,  # as a task's own delay() has it
    )

    celerys, ours = published(real_client, app, a_hint(channel=channel))

    for message in (celerys, ours):
        assert message["headers"]["id"] == message["headers"]["root_id"]
        assert message["properties"].pop("correlation_id") == message["headers"]["id"]
        message["properties"].pop("delivery_tag")
        message["properties"].pop("reply_to", None)
        for name in OWN:
            message["headers"].pop(name)
    assert ours == celerys


def test_only_the_id_crosses_the_queue(real_client, app):
    (message,) = published(real_client, app, a_hint())

    arguments, keywords, _ = message["body"]
    assert (arguments, keywords) == ([RESET_ID], {})
    assert message["headers"]["argsrepr"] == f"('{RESET_ID}',)"


def test_many_ids_cross_in_one_message_and_flower_shows_a_few(real_client, app):
    ids = [f"{number:027}" for number in range(1000)]

    with publishing(app) as publisher:
        publisher.publish(hint_at_many(ids, Queue.BULK))

    (message,) = messages(real_client, Queue.BULK)
    assert message["body"][0] == [",".join(ids)]
    assert message["headers"]["task"] == Task.SEND_EMAILS
    assert message["headers"]["argsrepr"] == f"('{ids[0]},{ids[1]},{ids[2]},…' 1000 in all,)"


def test_no_clock_of_a_worker_decides_whether_a_hint_still_counts(real_client, app):
    (message,) = published(real_client, app, a_hint())

    assert message["headers"]["expires"] is None
    assert message["properties"]["expiration"] == str(HINT_LIFETIME_SECONDS * 1000)


def test_every_hint_has_an_id_of_its_own(real_client, app):
    found = published(real_client, app, *[a_hint(f"0{n}") for n in range(5)])

    assert [message["body"][0][0] for message in found] == [f"0{n}" for n in range(5)]
    assert len({message["headers"]["id"] for message in found}) == 5


def test_each_queue_has_a_list_of_its_own(real_client, app):
    published(real_client, app, a_hint("0a"), a_hint("0b", queue=Queue.BULK))

    assert len(messages(real_client, Queue.URGENT)) == len(messages(real_client, Queue.BULK)) == 1


def test_a_real_worker_executes_hints(app):
    delivered, tasks = Deliveries(), TaskDependencies()
    tasks.delivery = delivered
    register_tasks(app, tasks)

    with (
        start_worker(
            app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=20
        ),
        publishing(app) as publisher,
    ):
        publisher.publish(a_hint("0a"))
        publisher.publish(a_hint("0b", channel=Channel.SMS))
        app.send_task(Task.SEND_EMAIL.value, ("0late",), queue="urgent", expires=-1)
        publisher.publish(a_hint("0c"))
        wait_until(lambda: {"0a", "0b", "0c"} <= set(delivered.ids))

    assert sorted(delivered.ids) == ["0a", "0b", "0c"]


def test_the_broker_tells_how_many_hints_wait(real_client, app):
    with publishing(app) as publisher:
        assert publisher.waiting(Queue.URGENT) == 0
        publisher.publish(a_hint())
        wait_until(lambda: publisher.waiting(Queue.URGENT) == 1)
        assert publisher.waiting(Queue.BULK) == 0


def test_closing_publishes_what_is_waiting(real_client, app):
    number = MAX_AT_ONCE * 3 + 7

    with publishing(app) as publisher:
        for n in range(number):
            publisher.publish(a_hint(f"0{n}"))

    assert real_client.llen(Queue.URGENT.value) == number


def test_a_publisher_that_published_nothing_closes_at_once(app):
    publisher = HintPublisher(app)

    publisher.close()

    assert publisher._thread is None


def test_a_full_list_gets_no_more_hints(real_client, app):
    real_client.lpush(Queue.URGENT.value, *["x"] * MAX_WAITING)

    with publishing(app) as publisher:
        for n in range(30):
            publisher.publish(a_hint(f"0{n}"))
            time.sleep(0.02)

    assert MAX_WAITING < real_client.llen(Queue.URGENT.value) <= MAX_WAITING + MAX_AT_ONCE
    found = real_client.llen(Queue.URGENT.value) - MAX_WAITING
    assert found < 30


def test_a_full_list_of_batches_does_not_hold_up_a_person(real_client, app):
    real_client.lpush(Queue.BULK.value, *["x"] * (MAX_WAITING + 1))

    with publishing(app) as publisher:
        for n in range(20):
            publisher.publish(a_hint(f"1{n}", queue=Queue.BULK))
            time.sleep(0.002)
        publisher.publish(a_hint())
        wait_until(lambda: real_client.llen(Queue.URGENT.value))

    assert real_client.llen(Queue.BULK.value) <= MAX_WAITING + 1 + MAX_AT_ONCE


def test_a_list_that_was_full_gets_hints_again(real_client, app):
    real_client.lpush(Queue.URGENT.value, *["x"] * (MAX_WAITING + 1))
    with publishing(app) as publisher:
        publisher.publish(a_hint("0a"))
        time.sleep(0.2)
        assert real_client.llen(Queue.URGENT.value) == MAX_WAITING + 1
        real_client.delete(Queue.URGENT.value)

        publisher.publish(a_hint("0b"))

        wait_until(lambda: real_client.llen(Queue.URGENT.value) == 1)


def seconds_to_publish(publisher, number):
    """What so many requests wait for the publisher, all together."""
    seconds = 0.0
    for n in range(number):
        began = time.perf_counter()
        publisher.publish(a_hint(f"0{n}"))
        seconds += time.perf_counter() - began
        time.sleep(0.001)
    return seconds


def test_a_broker_that_is_gone_costs_a_request_nothing(tmp_path):
    publisher = HintPublisher(an_app(f"unix://{tmp_path}/nobody"))
    publisher.publish(a_hint())

    assert seconds_to_publish(publisher, 200) < WAIT_SECONDS
    assert not publisher.is_connected()


def test_what_gathers_for_a_broker_that_is_gone_has_an_end(tmp_path):
    publisher = HintPublisher(an_app(f"unix://{tmp_path}/nobody"))

    for n in range(MAX_WAITING * 3):
        publisher.publish(a_hint(f"0{n}"))

    assert publisher._hints.qsize() <= MAX_WAITING


def test_a_broker_that_comes_back_gets_hints_again(tmp_path, own_server):
    socket = tmp_path / "own.sock"
    publisher = HintPublisher(an_app(f"unix://{socket}"))
    publisher.publish(a_hint("0lost"))
    time.sleep(0.2)
    own_server()

    def arrives():
        publisher.publish(a_hint())
        with suppress(BrokerAwayError):
            return publisher.waiting(Queue.URGENT)

    wait_until(arrives)
    publisher.close()

    assert not publisher.is_failing()


def test_a_frozen_broker_costs_a_request_nothing(tmp_path, own_server):
    socket = tmp_path / "own.sock"
    server = own_server()
    publisher = HintPublisher(an_app(f"unix://{socket}"))
    publisher.publish(a_hint())
    wait_until(lambda: publisher.waiting(Queue.URGENT) == 1)
    os.kill(server.pid, signal.SIGSTOP)

    waited = seconds_to_publish(publisher, 200)
    began = time.monotonic()
    publisher.close()
    took = time.monotonic() - began

    os.kill(server.pid, signal.SIGCONT)
    assert waited < WAIT_SECONDS  # all of them less than one that waited
    assert took < 2 + SLACK_SECONDS


@pytest.mark.parametrize("state", ["gone", "frozen"])
def test_whether_the_broker_answers_is_told_before_long(tmp_path, own_server, state):
    socket = tmp_path / "own.sock"
    server = own_server()
    publisher = HintPublisher(an_app(f"unix://{socket}"))
    assert publisher.is_connected()
    os.kill(server.pid, signal.SIGSTOP if state == "frozen" else signal.SIGKILL)

    began = time.monotonic()
    is_connected = publisher.is_connected()
    took = time.monotonic() - began

    assert not is_connected
    assert took < 2 + SLACK_SECONDS


def test_the_call_of_a_hint_writes_the_message_that_the_publisher_would(real_client, app):
    with publishing(app) as publisher:
        publisher.publish(a_hint())
    name, names, arguments = HintPublisher(app, is_in_store=True).call(a_hint())
    Scripts(real_client).run(name, names, arguments)

    theirs, ours = messages(real_client)
    for message in (theirs, ours):
        for part, key in (("headers", "id"), ("headers", "root_id")):
            message[part].pop(key)
        for key in ("correlation_id", "delivery_tag"):
            message["properties"].pop(key)
    assert ours == theirs


def test_a_hint_for_another_broker_has_no_call(app):
    assert HintPublisher(app).call(a_hint()) is None
