"""Hints are followed by the worker itself while the broker carries none, and only then."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from shared.broker import SHORT_TIMEOUT
from shared.errors import BrokerAwayError
from shared.models import Channel, Queue, Status
from shared.queue import HintPublisher, hint_at, make_celery
from shared.settings import Settings
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.fakes import FakeHints
from tests.support.waiting import HANG_SECONDS, wait_until
from worker import broker_fallback
from worker.broker_fallback import MAX_THREADS, MAX_WAITING, ConsumerProbe, LocalFallback
from worker.sweeper import Sweeper

HINT = hint_at("0a", Channel.EMAIL, Queue.URGENT)


class Broker(FakeHints):
    """Away, full or silent as a test wants it."""

    def __init__(self, *, is_away=False, is_full=False, holds=0):
        super().__init__()
        self.is_away, self.is_full, self.holds = is_away, is_full, holds

    def is_failing(self):
        return self.is_full or self.is_away

    def waiting(self, queue):
        if self.is_away:
            raise BrokerAwayError
        return self.holds


class Followed:
    """What was followed; each waits for `go` when asked to."""

    def __init__(self, *, waits=False):
        self.hints = []
        self.go = threading.Event()
        if not waits:
            self.go.set()

    def __call__(self, hint):
        self.hints.append(hint)
        assert self.go.wait(HANG_SECONDS)


def a_probe(*, is_connected=True, last_task_at=None):
    probe = ConsumerProbe()
    probe.is_connected = is_connected
    probe.last_task_at = time.monotonic() if last_task_at is None else last_task_at
    return probe


@pytest.fixture
def fallback():
    """Makes fallbacks and closes them."""
    made = []

    def make(broker, follow, *queues, probe=None, **more):
        served = queues or (Queue.URGENT,)
        made.append(LocalFallback(broker, follow, served, probe=probe or a_probe(), **more))
        return made[-1]

    yield make
    for hints in made:
        hints.close()


def test_a_hint_the_broker_takes_is_left_to_the_broker(fallback):
    followed, broker = Followed(), Broker()
    hints = fallback(broker, followed)

    hints.waiting(Queue.URGENT)
    hints.publish(HINT)
    hints.close()

    assert followed.hints == []


@pytest.mark.parametrize("trouble", [{"is_away": True}, {"is_full": True}], ids=["away", "full"])
def test_a_hint_nobody_would_hear_is_followed_here(fallback, trouble):
    followed, broker = Followed(), Broker(**trouble)
    hints = fallback(broker, followed)

    assert hints.waiting(Queue.URGENT) == 0
    hints.publish(HINT)

    wait_until(lambda: followed.hints == [HINT])
    assert broker.published == [HINT]  # for the first that gets through ends the trouble


def test_a_broker_that_is_back_gets_the_hints_again(fallback):
    followed, broker = Followed(), Broker(is_away=True)
    hints = fallback(broker, followed)
    hints.waiting(Queue.URGENT)
    broker.is_away = False

    assert hints.waiting(Queue.URGENT) == 0
    hints.publish(HINT)
    hints.close()

    assert followed.hints == []


def test_a_worker_that_lost_its_connection_follows_hints_until_it_has_one_again(fallback):
    followed, probe = Followed(), a_probe(is_connected=False)
    hints = fallback(Broker(holds=500), followed, probe=probe)

    assert hints.waiting(Queue.URGENT) == 0
    hints.publish(HINT)
    wait_until(lambda: followed.hints == [HINT])
    probe.is_connected = True

    assert hints.waiting(Queue.URGENT) == 500


def test_a_worker_that_never_had_a_connection_follows_hints_until_it_has_one(fallback):
    broker, probe = Broker(is_away=True, holds=500), a_probe(is_connected=None)
    hints = fallback(broker, Followed(), probe=probe)
    hints.waiting(Queue.URGENT)
    broker.is_away = False

    assert hints.waiting(Queue.URGENT) == 0
    probe.is_connected = True
    assert hints.waiting(Queue.URGENT) == 500


def test_hints_of_other_queues_are_left_to_other_workers(fallback):
    followed = Followed()
    hints = fallback(Broker(is_away=True), followed, Queue.BULK)
    hints.waiting(Queue.BULK)

    hints.publish(HINT)
    hints.close()

    assert followed.hints == []


def test_a_worker_that_hears_of_none_follows_what_the_broker_holds(fallback, monkeypatch):
    monkeypatch.setattr(broker_fallback, "SILENT_SECONDS", 0.5)
    followed, broker = Followed(), Broker(holds=500)
    hints = fallback(broker, followed, probe=a_probe(last_task_at=0.0))

    assert hints.waiting(Queue.URGENT) == 500
    time.sleep(0.51)
    assert hints.waiting(Queue.URGENT) == 0
    hints.publish(HINT)

    wait_until(lambda: followed.hints == [HINT])


def test_a_worker_that_is_busy_with_a_long_list_is_not_deaf(fallback, monkeypatch):
    monkeypatch.setattr(broker_fallback, "SILENT_SECONDS", 0.5)
    probe = a_probe()
    hints = fallback(Broker(holds=500), Followed(), probe=probe)

    hints.waiting(Queue.URGENT)
    time.sleep(0.51)
    probe.note_task()

    assert hints.waiting(Queue.URGENT) == 500


def test_a_hint_that_is_being_followed_is_not_taken_twice(fallback):
    followed = Followed(waits=True)
    hints = fallback(Broker(is_away=True), followed)
    hints.waiting(Queue.URGENT)

    for _ in range(5):
        hints.publish(HINT)
    followed.go.set()
    hints.close()

    assert followed.hints == [HINT]


def test_what_is_taken_at_a_time_has_an_end(fallback):
    followed = Followed(waits=True)
    hints = fallback(Broker(is_away=True), followed)
    hints.waiting(Queue.URGENT)

    for number in range(2 * MAX_WAITING):
        hints.publish(hint_at(f"0{number}", Channel.EMAIL, Queue.URGENT))
    wait_until(lambda: len(followed.hints) == MAX_THREADS)
    followed.go.set()

    wait_until(lambda: len(followed.hints) == MAX_WAITING)
    hints.close()

    assert len(followed.hints) == MAX_WAITING


def test_stopping_finishes_what_was_begun_and_begins_nothing_more(fallback):
    followed = Followed(waits=True)
    hints = fallback(Broker(is_away=True), followed)
    hints.waiting(Queue.URGENT)
    for number in range(2 * MAX_THREADS):
        hints.publish(hint_at(f"0{number}", Channel.EMAIL, Queue.URGENT))
    wait_until(lambda: len(followed.hints) == MAX_THREADS)

    hints.stop()
    hints.publish(HINT)
    followed.go.set()
    hints.close()

    assert len(followed.hints) == MAX_THREADS


def test_a_task_that_fails_ends_no_thread(fallback):
    followed = []

    def fail(hint):
        followed.append(hint)
        raise RuntimeError

    hints = fallback(Broker(is_away=True), fail)
    hints.waiting(Queue.URGENT)

    for _ in range(2):
        hints.publish(HINT)
        wait_until(lambda: HINT not in hints._taken)

    assert followed == [HINT, HINT]


@pytest.mark.real_server
@pytest.mark.parametrize("state", ["gone", "frozen", "full"])
def test_a_sweep_delivers_without_its_broker(client, fallback, tmp_path, own_server, state):
    provider = ScriptedProvider()
    services = some_delivery_services(client, provider)
    socket = tmp_path / "own.sock"
    server = own_server()
    app = make_celery(Settings(redis_url=f"unix://{socket}", data_dir=Path("/nonexistent")))
    hints = fallback(HintPublisher(app), lambda hint: services.deliver(hint.about))
    assert hints.waiting(Queue.URGENT) == 0
    hurt(server, app, state)
    reset_id = services.record()
    sweeper = Sweeper(
        services.services.dues, hints, (Queue.URGENT,), worker="urgent w", pace_seconds=0.1
    )

    sweeper.start()
    wait_until(lambda: services.look(reset_id).status is Status.ACCEPTED)
    sweeper.stop()
    server.kill()

    assert len(provider.messages) == 1


def hurt(server, app, state):
    if state == "gone":
        server.kill()
        server.wait()
    elif state == "frozen":
        os.kill(server.pid, signal.SIGSTOP)
    else:
        with app.connection_for_write() as connection:
            connection.default_channel.client.config_set("maxmemory", "1")


def test_a_frozen_broker_is_not_asked_at_every_sweep(tmp_path, own_server):
    server = own_server()
    url = f"unix://{tmp_path / 'own.sock'}"
    publisher = HintPublisher(make_celery(Settings(redis_url=url, data_dir=Path("/nonexistent"))))
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(BrokerAwayError):
        publisher.waiting(Queue.URGENT)

    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(BrokerAwayError):
            publisher.waiting(Queue.URGENT)

    assert time.monotonic() - began < 20 * SHORT_TIMEOUT["socket_timeout"] / 2
    os.kill(server.pid, signal.SIGCONT)
    publisher.close()


def test_without_a_broker_every_hint_is_followed_here_by_as_many_threads_as_set(fallback):
    followed = Followed(waits=True)
    hints = fallback(Broker(), followed, is_alone=True, threads=2 * MAX_THREADS)

    for number in range(MAX_WAITING):
        assert hints.publish(hint_at(f"0{number}", Channel.EMAIL, Queue.URGENT))
    assert not hints.publish(HINT)  # full: the next sweep brings it
    wait_until(lambda: len(followed.hints) == 2 * MAX_THREADS)

    assert hints.waiting(Queue.URGENT) == MAX_WAITING - 2 * MAX_THREADS
    assert hints.waiting(Queue.BULK) == 0
    followed.go.set()
    wait_until(lambda: hints.waiting(Queue.URGENT) == 0)
