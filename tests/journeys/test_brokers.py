"""Every kind of broker carries hints to a worker, and so does none at all."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager

import boto3
import pytest

from faults.brokers import QUEUE_TYPES
from shared.errors import BrokerAwayError
from shared.models import Channel, Queue, Status
from shared.queue import HintPublisher, hint_at, hint_at_many, make_celery
from shared.settings import load_settings
from shared.store.connection import connect
from tests.support.brokers import rabbitmq, sqs
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.waiting import wait_until
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(600)]

LATE_SWEEPS = {"KEYTURN_SWEEP_SECONDS": "60"}  # so that only a hint can be the reason
SOON_SECONDS = 10.0  # on a machine that does other things


@pytest.fixture(scope="module")
def node():
    with rabbitmq() as running:
        yield running


@pytest.fixture(scope="module")
def sqs_url():
    with sqs() as url:
        yield url


@pytest.fixture(params=[*QUEUE_TYPES, "sqs"])
def broker(request):
    """The settings of each kind."""
    if request.param == "sqs":
        url = request.getfixturevalue("sqs_url")
        return {"KEYTURN_BROKER_URL": url, "KEYTURN_SQS_REGION": "eu-central-1"}
    return {"KEYTURN_BROKER_URL": request.getfixturevalue("node").url(request.param)}


@contextmanager
def publishing(settings):
    publisher = HintPublisher(make_celery(load_settings(settings)))
    yield publisher
    publisher.close()


@pytest.fixture
def start_worker(tmp_path, own_server):
    """Starts a worker on a server of its own; gives services of that server."""
    workers, clients = [], []

    def start(queues, **settings):
        socket = tmp_path / "own.sock"
        own_server(socket)
        clients.append(connect(f"unix://{socket}"))
        services = some_delivery_services(clients[-1], ScriptedProvider())
        services.services.digests.digest("start", "")
        workers.append(WorkerProcess(socket, queues, **settings).wait_ready())
        return services, workers[-1]

    yield start
    for worker in workers:
        worker.end()
    for client in clients:
        client.close()


def wait_done(services, reset_id):
    wait_until(
        lambda: services.look(reset_id).status is Status.ACCEPTED, seconds=60, what="the message"
    )


def test_a_hint_reaches_a_worker(broker, start_worker):
    services, worker = start_worker("urgent,receipts", **broker, **LATE_SWEEPS)

    with publishing(broker) as publisher:
        for _ in range(3):
            reset_id = services.record()
            publisher.publish(hint_at(reset_id, Channel.EMAIL, Queue.URGENT))
            wait_done(services, reset_id)

    assert worker.is_running()
    assert not [line for line in worker.log().splitlines() if '"critical"' in line]
    assert worker.events("broker.away") == []


def test_the_depth_is_told(broker):
    with publishing(broker) as publisher:
        assert publisher.is_connected()
        assert publisher.waiting(Queue.BULK) == 0
        for number in range(3):
            publisher.publish(hint_at_many([f"0{number}"], Queue.BULK))
        wait_until(lambda: publisher.waiting(Queue.BULK) == 3, what="three hints")
        assert not publisher.is_failing()


def test_without_a_broker_a_worker_delivers_what_it_finds(start_worker):
    services, worker = start_worker("urgent,receipts", KEYTURN_BROKER_URL="none")
    took = []

    for _ in range(5):
        reset_id, began = services.record(), time.monotonic()
        wait_done(services, reset_id)
        took.append(time.monotonic() - began)
    worker.process.terminate()

    assert worker.process.wait(60) == 0
    assert sorted(took)[2] < 0.5
    assert worker.events("broker.away") == []


def sqs_client(url, region):
    return boto3.client(
        "sqs", endpoint_url=f"http://{url.rpartition('@')[2]}", region_name=region,
        aws_access_key_id="key", aws_secret_access_key="secret",
    )  # fmt: skip


def test_a_worker_goes_on_after_sqs_refused_a_poll(sqs_url, start_worker):
    settings = {"KEYTURN_BROKER_URL": sqs_url, "KEYTURN_SQS_REGION": "eu-central-1"}
    services, worker = start_worker("urgent,receipts", **settings, **LATE_SWEEPS)
    with closing(sqs_client(sqs_url, "eu-central-1")) as client:
        for url in client.list_queues(QueueNamePrefix="keyturn-urgent")["QueueUrls"]:
            client.delete_queue(QueueUrl=url)

    def refused():
        return [e for e in worker.events("broker.away") if "refused a poll" in e["reason"]]

    wait_until(refused, seconds=60, what="a refused poll")
    with publishing(settings) as publisher:
        reset_id = services.record()
        publisher.publish(hint_at(reset_id, Channel.EMAIL, Queue.URGENT))
        wait_until(
            lambda: services.look(reset_id).status is Status.ACCEPTED,
            seconds=30,  # before the next sweep
            what="the message",
        )

    assert worker.is_running()


def test_queues_that_exist_at_sqs_are_used_and_none_is_made(sqs_url):
    maker = sqs_client(sqs_url, "eu-west-1")
    made = {q.value: maker.create_queue(QueueName=f"our-{q.value}")["QueueUrl"] for q in Queue}
    named = ",".join(f"{name}={url}" for name, url in made.items())
    settings = {"KEYTURN_BROKER_URL": sqs_url, "KEYTURN_SQS_REGION": "eu-west-1"}

    with publishing(settings | {"KEYTURN_SQS_QUEUES": named}) as publisher:
        publisher.publish(hint_at("0a", Channel.EMAIL, Queue.URGENT))
        wait_until(lambda: publisher.waiting(Queue.URGENT) == 1, what="a hint")

    assert sorted(maker.list_queues()["QueueUrls"]) == sorted(made.values())
    assert maker.receive_message(QueueUrl=made["urgent"])["Messages"]
    maker.close()


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1//", "sqs://k:s@127.0.0.1:1"])
def test_a_broker_that_is_away_is_told_soon(url):
    settings = {"KEYTURN_BROKER_URL": url, "KEYTURN_SQS_REGION": "eu-west-1"}
    with publishing(settings) as publisher:
        began = time.monotonic()
        assert not publisher.is_connected()
        with pytest.raises(BrokerAwayError):
            publisher.waiting(Queue.URGENT)
        publisher.publish(hint_at("0a", Channel.EMAIL, Queue.URGENT))
        assert time.monotonic() - began < SOON_SECONDS
