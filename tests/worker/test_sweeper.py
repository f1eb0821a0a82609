"""The sweeper: what is due is found whoever lost the hint, and the worker says it is there."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise

import pytest

from shared.models import DUE_QUEUES, Channel, Queue, Status
from shared.queue import Task, hint_at
from shared.store import keys
from shared.store.connection import connect
from shared.store.due_sets import WORKER_SEEN_SECONDS
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.fakes import FakeHints
from tests.support.store_builders import stores_of
from tests.support.waiting import wait_until
from worker.sweeper import (
    AGAIN_SECONDS,
    GRACE_SECONDS,
    MAX_GATHERED_WAITING,
    MAX_WAITING,
    QUIET_LOOKS,
    Sweeper,
)

PACE_SECONDS = 0.05


class FullHints(FakeHints):
    """A broker that holds so many hints of the urgent queue already."""

    def __init__(self, number):
        super().__init__()
        self._number = number

    def waiting(self, queue):
        return self._number if queue is Queue.URGENT else 0


class DeliveringHints(FakeHints):
    """A broker whose only worker takes each hint at once."""

    def __init__(self, services):
        super().__init__()
        self._services = services

    def publish(self, hint):
        super().publish(hint)
        self._services.deliver(hint.about)

    def waiting(self, queue):
        return 0


def a_sweeper(stores, hints, *queues, worker="urgent w1"):
    served = queues or DUE_QUEUES
    return Sweeper(stores.dues, hints, served, worker=worker, pace_seconds=PACE_SECONDS)


def overdue(stores, reset_id):
    for queue in Queue:
        if stores.due_at(reset_id, queue) is not None:
            stores.make_due(reset_id, queue)
    return reset_id


@pytest.fixture
def stores(client):
    return stores_of(client)


@pytest.fixture
def sweeping():
    """Starts sweepers and stops them."""
    started = []

    def start(sweeper):
        started.append(sweeper)
        sweeper.start()
        return sweeper

    yield start
    for sweeper in started:
        sweeper.stop()


def test_a_lost_hint_is_given_again(stores):
    hints = FakeHints()
    sms = overdue(stores, stores.record(channel=Channel.SMS))
    bulk = overdue(stores, stores.record("grace", queue=Queue.BULK))

    assert a_sweeper(stores, hints).sweep() == 2

    assert sorted(hints.published) == sorted(
        [hint_at(sms, Channel.SMS, Queue.URGENT), hint_at(bulk, Channel.EMAIL, Queue.BULK)]
    )


def test_a_reset_just_recorded_is_left_to_its_own_hint(stores):
    hints = FakeHints()
    stores.record()

    assert a_sweeper(stores, hints).sweep() == 0
    assert GRACE_SECONDS < 0.5


@pytest.mark.parametrize("state", ["leased", "waiting", "final"])
def test_what_is_not_due_gets_no_hint(stores, state):
    hints = FakeHints()
    reset_id = overdue(stores, stores.record())
    if state == "leased":
        stores.resets.claim(reset_id)
    elif state == "final":
        stores.attempt(reset_id)
    else:
        stores.client.zadd(keys.due(keys.tag_of(reset_id), "urgent"), {reset_id: 9e15})

    assert a_sweeper(stores, hints).sweep() == 0


def test_nothing_is_hinted_while_the_list_of_its_queue_is_long(stores):
    hints = FullHints(MAX_WAITING + 1)
    overdue(stores, stores.record())
    bulk = overdue(stores, stores.record("grace", queue=Queue.BULK))

    a_sweeper(stores, hints).sweep()

    assert [hint.about for hint in hints.published] == [bulk]


def test_a_short_list_is_filled(stores):
    hints = FullHints(MAX_WAITING)
    overdue(stores, stores.record())

    assert a_sweeper(stores, hints).sweep() == 1


def test_a_sweeper_leaves_other_queues_to_others(stores):
    hints = FakeHints()
    overdue(stores, stores.record(queue=Queue.BULK))

    assert a_sweeper(stores, hints, Queue.URGENT).sweep() == 0


def test_the_lease_of_a_dead_worker_comes_back(client, sweeping):
    provider = ScriptedProvider()
    services = some_delivery_services(client, provider)
    reset_id = services.record()
    services.services.resets.claim(reset_id)
    overdue(services.stores, reset_id)

    sweeping(a_sweeper(services.stores, DeliveringHints(services)))

    wait_until(lambda: services.look(reset_id).status is Status.ACCEPTED)
    assert len(provider.messages) == 1


def test_many_sweepers_are_harmless(client, sweeping):
    provider = ScriptedProvider()
    services = some_delivery_services(client, provider)
    ids = [overdue(services.stores, services.record(channel=Channel.EMAIL)) for _ in range(1)]

    for number in range(4):
        sweeping(a_sweeper(services.stores, DeliveringHints(services), worker=f"urgent w{number}"))

    wait_until(lambda: all(services.look(i).status is Status.ACCEPTED for i in ids))
    time.sleep(3 * PACE_SECONDS)
    assert len(provider.messages) == len(ids)


def test_a_sweeping_worker_is_seen_until_it_says_goodbye(stores):
    sweeper = a_sweeper(stores, FakeHints())

    sweeper.start()
    wait_until(lambda: stores.dues.workers_seen(Queue.URGENT) == ["urgent w1"])
    sweeper.stop()

    assert stores.dues.workers_seen(Queue.URGENT) == []


def test_a_worker_that_died_is_seen_no_more_after_a_while(stores, sweeping):
    sweeping(a_sweeper(stores, FakeHints(), worker="urgent alive"))
    stores.dues.heartbeat("urgent dead")
    stale = stores.now_ms() - WORKER_SEEN_SECONDS * 1000 - 1
    stores.client.zadd(keys.WORKERS, {"urgent dead": stale})

    wait_until(lambda: stores.dues.workers_seen(Queue.URGENT) == ["urgent alive"])


def test_a_worker_whose_broker_is_away_is_still_seen(stores, sweeping):
    class AwayHints(FakeHints):
        def waiting(self, queue):
            raise ConnectionError

    sweeping(a_sweeper(stores, AwayHints()))

    wait_until(lambda: stores.dues.workers_seen(Queue.URGENT) == ["urgent w1"])


@pytest.mark.real_server
def test_a_sweeper_outlives_a_server_that_died(tmp_path, own_server, sweeping):
    socket = tmp_path / "own.sock"
    server = own_server()
    with connect(f"unix://{socket}") as client:
        stores, hints = stores_of(client), FakeHints()
        sweeping(a_sweeper(stores, hints))
        wait_until(lambda: stores.dues.workers_seen(Queue.URGENT))
        server.kill()
        server.wait()
        time.sleep(4 * PACE_SECONDS)
        own_server()

        fresh = stores_of(client)
        reset_id = overdue(fresh, fresh.record())

        wait_until(lambda: reset_id in [hint.about for hint in hints.published])
        wait_until(lambda: fresh.dues.workers_seen(Queue.URGENT) == ["urgent w1"])


@pytest.mark.real_server
def test_a_sweeper_outlives_a_server_that_froze(tmp_path, own_server, sweeping):
    socket = tmp_path / "own.sock"
    server = own_server()
    with connect(f"unix://{socket}", timeout_seconds=0.5) as client:
        stores, hints = stores_of(client), FakeHints()
        sweeping(a_sweeper(stores, hints))
        reset_id = overdue(stores, stores.record())
        os.kill(server.pid, signal.SIGSTOP)
        thaw = threading.Timer(1.2, os.kill, (server.pid, signal.SIGCONT))
        thaw.start()
        thaw.join()
        hints.published.clear()

        wait_until(lambda: reset_id in [hint.about for hint in hints.published])


def gathering(stores, hints, **more):
    return Sweeper(
        stores.dues,
        hints,
        DUE_QUEUES,
        worker="bulk w1",
        pace_seconds=PACE_SECONDS,
        gathered=(Queue.BULK,),
        **more,
    )


def test_mails_of_a_batch_are_hinted_at_together(client):
    stores, hints = stores_of(client), FakeHints()
    ids = {overdue(stores, stores.record(f"u{n}", queue=Queue.BULK)) for n in range(60)}
    sms = overdue(stores, stores.record("ada", queue=Queue.BULK, channel=Channel.SMS))
    urgent = overdue(stores, stores.record("bob"))

    gathering(stores, hints).sweep()

    (together,) = [hint for hint in hints.published if hint.task is Task.SEND_EMAILS]
    assert set(together.about.split(",")) == ids
    assert together.queue is Queue.BULK
    assert hint_at(sms, Channel.SMS, Queue.BULK) in hints.published
    assert hint_at(urgent, Channel.EMAIL, Queue.URGENT) in hints.published
    assert len(hints.published) == 3


@pytest.mark.real_server
def test_no_hint_names_more_than_a_provider_takes(real_client):
    stores, hints = stores_of(real_client), FakeHints()
    for number in range(1300):
        overdue(stores, stores.record(f"u{number}", queue=Queue.BULK))

    gathering(stores, hints).sweep()

    assert [hint.about.count(",") + 1 for hint in hints.published] == [1000, 300]


def test_nothing_is_gathered_while_hints_at_many_wait(fake_client):
    stores, hints = stores_of(fake_client), FakeHints()
    sweeper = gathering(stores, hints)

    for number in range(MAX_GATHERED_WAITING + 3):
        overdue(stores, stores.record(f"u{number}", queue=Queue.BULK))
        sweeper.sweep()

    assert len(hints.published) == MAX_GATHERED_WAITING + 1


def test_what_was_just_gathered_is_gathered_again_only_when_it_still_waits_long_after(fake_client):
    stores, hints, now = stores_of(fake_client), FakeHints(), [100.0]
    first = overdue(stores, stores.record("ada", queue=Queue.BULK))
    sweeper = gathering(stores, hints, clock=lambda: now[0])
    sweeper.sweep()
    second = overdue(stores, stores.record("bob", queue=Queue.BULK))

    sweeper.sweep()
    now[0] += AGAIN_SECONDS
    sweeper.sweep()

    told = [set(hint.about.split(",")) for hint in hints.published]
    assert told == [{first}, {second}, {first, second}]


def test_what_was_claimed_and_is_due_again_is_gathered_at_once(fake_client):
    stores, hints = stores_of(fake_client), FakeHints()
    reset_id = overdue(stores, stores.record(queue=Queue.BULK))
    sweeper = gathering(stores, hints)
    sweeper.sweep()
    stores.resets.claim(reset_id)
    sweeper.sweep()
    stores.make_due(reset_id, Queue.BULK)

    sweeper.sweep()

    assert [hint.about for hint in hints.published] == [reset_id] * 2


class SilentHints(FakeHints):
    """A broker that tells no depth."""

    def waiting(self, queue):
        return 0


class FullBufferHints(SilentHints):
    """Hints that are surely lost."""

    def publish(self, hint):
        super().publish(hint)
        return False


def alone(stores, hints, now):
    return Sweeper(
        stores.dues,
        hints,
        (Queue.URGENT,),
        worker="urgent w1",
        pace_seconds=PACE_SECONDS,
        clock=lambda: now[0],
    )


def test_what_stays_due_is_hinted_at_again_after_twice_the_pause_each_time(fake_client):
    stores, hints, now = stores_of(fake_client), SilentHints(), [100.0]
    overdue(stores, stores.record())
    sweeper, at = alone(stores, hints, now), []

    for second in range(240):
        now[0] = 100.0 + second
        at += [second] * sweeper.sweep()

    assert at == [0, 5, 15, 35, 75, 135, 195]


def test_many_sweeps_of_a_broker_without_depth_hint_once(fake_client):
    stores, hints = stores_of(fake_client), SilentHints()
    for number in range(30):
        overdue(stores, stores.record(f"u{number}"))
    sweeper = a_sweeper(stores, hints, Queue.URGENT)

    for _ in range(20):
        sweeper.sweep()

    assert len(hints.published) == 30


def test_what_was_claimed_and_is_due_again_is_hinted_at_at_once(fake_client):
    stores, hints = stores_of(fake_client), SilentHints()
    reset_id = overdue(stores, stores.record())
    sweeper = a_sweeper(stores, hints, Queue.URGENT)
    sweeper.sweep()
    stores.resets.claim(reset_id)
    sweeper.sweep()
    stores.make_due(reset_id, Queue.URGENT)

    assert sweeper.sweep() == 1


def test_a_hint_that_was_surely_lost_is_given_at_the_next_sweep(fake_client):
    stores, hints = stores_of(fake_client), FullBufferHints()
    overdue(stores, stores.record())
    overdue(stores, stores.record("grace", queue=Queue.BULK))
    sweeper = gathering(stores, hints)

    assert [sweeper.sweep() for _ in range(3)] == [2, 2, 2]


def test_a_sweeper_without_a_broker_waits_for_no_other_hint(stores, sweeping):
    hints = SilentHints()
    reset_id = stores.record()
    began = time.monotonic()

    sweeping(
        Sweeper(stores.dues, hints, DUE_QUEUES, worker="urgent w1", pace_seconds=60, is_alone=True)
    )

    wait_until(lambda: [hint.about for hint in hints.published] == [reset_id])
    assert time.monotonic() - began < 60 / 5


def counting_sweeper(stores, hints, finds=0):
    """A sweeper with a job that always finds so many; the moments of its runs and of all looks."""
    runs, looks = [], []

    def job():
        runs.append(time.monotonic())
        return finds

    made = Sweeper(
        stores.dues, hints, (Queue.URGENT,), worker="urgent w1", pace_seconds=PACE_SECONDS,
        jobs=[job], verify=lambda: looks.append(time.monotonic()),
    )  # fmt: skip
    return made, runs, looks


def test_while_nothing_waits_jobs_run_more_rarely_than_the_due_sets_are_looked_at(stores, sweeping):
    sweeper, runs, looks = counting_sweeper(stores, FakeHints())
    sweeping(sweeper)

    wait_until(lambda: len(runs) > 4)

    assert 4 * (1 + QUIET_LOOKS) <= len(looks) <= 6 * (1 + QUIET_LOOKS)


@pytest.mark.parametrize("state", ["a reset waits", "a job finds something", "hints get lost"])
def test_while_something_is_to_do_jobs_run_in_every_sweep(stores, sweeping, state):
    class FailingHints(FakeHints):
        def is_failing(self):
            return state == "hints get lost"

    sweeper, runs, _ = counting_sweeper(
        stores, FailingHints(), finds=state == "a job finds something"
    )
    if state == "a reset waits":
        stores.client.zadd(keys.due(keys.tag_of(stores.record()), "urgent"), {"later": 9e15})
    sweeping(sweeper)

    wait_until(lambda: len(runs) > 8)

    assert min(after - before for before, after in pairwise(runs)) < 2 * PACE_SECONDS


def test_what_becomes_due_after_a_quiet_time_gets_its_hint_with_the_next_look(stores, sweeping):
    hints = FakeHints()
    sweeper, runs, _ = counting_sweeper(stores, hints)
    sweeping(sweeper)
    wait_until(lambda: len(runs) > 2)
    reset_id = overdue(stores, stores.record())

    wait_until(lambda: [hint.about for hint in hints.published] == [reset_id])


def test_no_queue_of_a_cluster_is_known_to_be_empty(fake_client):
    stores = stores_of(fake_client)
    fake_client.has_one_node = False

    assert not stores.dues.is_empty(Queue.URGENT)
    assert stores.dues.look(Queue.URGENT).waiting == 0
