from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from celery.events.dispatcher import EventDispatcher

from shared.queue import Task
from tests.support.broker_messages import POISON, a_message
from worker.tasks import (
    FEWEST,
    FLUSH_SECONDS,
    MAX_MORE,
    MAX_TOGETHER,
    SHARE,
    GatherEvents,
    HintFilter,
    HintTaker,
    TaskDependencies,
    add_steps,
    register_tasks,
)


class Timer:
    def __init__(self) -> None:
        self.repeated: list[tuple[float, object]] = []
        self.cancelled = 0

    def call_repeatedly(self, seconds, call):
        self.repeated.append((seconds, call))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Dispatcher(EventDispatcher):
    """Celery's own, with nobody to publish to."""

    def __init__(self, app) -> None:
        super().__init__(
            app=app,
            hostname="here",
            enabled=False,
            buffer_group=["task"],
            on_send_buffered=self.note_flush_wanted,
        )
        self.enabled = True
        self.published: list[list[dict]] = []
        self.flushes_wanted = 0

    def note_flush_wanted(self) -> None:
        self.flushes_wanted += 1

    def _publish(self, event, producer, routing_key, **_):
        self.published.append(event)


def a_connected_worker():
    app = Celery("test", set_as_current=False, broker="memory://")
    return SimpleNamespace(event_dispatcher=Dispatcher(app), timer=Timer(), steps=[], app=app)


def test_task_events_wait_for_the_timer():
    worker = a_connected_worker()
    step = GatherEvents(worker)
    step.start(worker)

    for number in range(100):
        worker.event_dispatcher.send("task-started", uuid=str(number))

    assert worker.event_dispatcher.published == []
    assert worker.event_dispatcher.flushes_wanted == 0
    [(seconds, flush)] = worker.timer.repeated
    assert seconds == FLUSH_SECONDS
    flush()
    assert [len(batch) for batch in worker.event_dispatcher.published] == [100]


def test_a_stopping_worker_sends_what_it_gathered():
    worker = a_connected_worker()
    step = GatherEvents(worker)
    step.start(worker)
    worker.event_dispatcher.send("task-succeeded", uuid="1")

    step.stop(worker)

    assert [len(batch) for batch in worker.event_dispatcher.published] == [1]
    assert worker.timer.cancelled == 1


def test_the_worker_application_gathers_its_events():
    app = Celery("test", set_as_current=False, broker="memory://")

    add_steps(app)

    assert GatherEvents in app.steps["consumer"]


class Taking:
    """A worker process that serves `queues` of a server, and what it delivered beyond its tasks."""

    def __init__(self, url: str, queues: list[str]) -> None:
        broker = url.replace("unix://", "redis+socket://")
        self.app = Celery("test", set_as_current=False, broker=broker)
        self.app.amqp.queues.select(queues)
        self.delivered: list[str] = []
        self.together: list[list[str]] = []
        self.alone: list[str] = []  # given back by what sends together
        needs = TaskDependencies()
        needs.delivery = SimpleNamespace(deliver=self.deliver)
        needs.bulk = SimpleNamespace(deliver=self.deliver_together)
        register_tasks(self.app, needs)
        self.taker = HintTaker(self.app, needs)

    def deliver(self, reset_id: str) -> str:
        self.delivered.append(reset_id)
        if reset_id == "bad":
            raise RuntimeError
        return "accepted"

    def deliver_together(self, reset_ids: list[str], go_alone: Callable[[Any], None]) -> int:
        self.together.append(list(reset_ids))
        for reset_id in set(self.alone) & set(reset_ids):
            go_alone(SimpleNamespace(reset_id=reset_id))
        if "bad" in reset_ids:
            raise RuntimeError
        return len(reset_ids)

    def end_many_tasks(self, *, waiting: int = 0) -> list[str]:
        """A delivery ends after many others; return what the thread delivers singly then."""
        self.delivered.clear()
        self.taker._waiting = waiting
        self.taker._gap_seconds, self.taker._ended_at = 0.0, monotonic()
        self.taker.take(self.app.tasks[Task.SEND_EMAIL.value])
        return self.delivered


@pytest.fixture  # its tests are of one server: a cluster is no broker
def taking(real_redis_url, real_client) -> Iterator[Taking]:
    made = Taking(real_redis_url, ["urgent"])
    yield made
    signals.task_postrun.disconnect(made.taker.take)


@pytest.mark.one_server
def test_a_busy_thread_takes_the_next_hints_itself_but_not_for_ever(taking, real_client):
    ids = [f"id{number}" for number in range(MAX_MORE + 25)]
    real_client.lpush("urgent", *(a_message(each) for each in ids))

    assert taking.end_many_tasks() == ids[:MAX_MORE]
    assert real_client.llen("urgent") == 25
    assert not taking.together


def test_the_more_wait_the_more_go_out_together_first_a_few(taking, real_client):
    taking.taker.takes_many = True
    ids = [f"id{number}" for number in range(95)]
    real_client.lpush("urgent", *(a_message(each) for each in ids))

    singly = taking.end_many_tasks()

    assert singly[0] == ids[0]  # nothing is known of the backlog before
    assert [len(each) for each in taking.together[:3]] == [4, 8, 82 // SHARE]
    assert len(taking.together[-1]) == FEWEST
    assert sorted(sum(taking.together, singly)) == sorted(ids)
    assert not real_client.llen("urgent")


def test_no_more_go_out_together_than_may_be_in_doubt_at_once(taking, real_client):
    taking.taker.takes_many = True
    real_client.lpush("urgent", *(a_message(f"id{number}") for number in range(400)))

    taking.end_many_tasks(waiting=10_000)

    assert max(map(len, taking.together)) == MAX_TOGETHER


def test_text_messages_and_what_goes_alone_go_out_singly_at_once(taking, real_client):
    taking.taker.takes_many = True
    taking.alone = ["c"]
    sms = a_message("b", task=Task.SEND_SMS.value)
    real_client.lpush("urgent", *map(a_message, "acdefghi"), sms)
    taking.taker._most = 9

    assert taking.end_many_tasks(waiting=9 * SHARE) == ["b", "c"]
    assert taking.together == [list("acdefghi")]


def test_where_many_go_alone_nothing_is_sent_together_for_a_while(taking, real_client):
    taking.taker.takes_many = True
    taking.alone = ["id0", "id1"]
    real_client.lpush("urgent", *(a_message(f"id{number}") for number in range(40)))

    singly = taking.end_many_tasks(waiting=10_000)

    assert taking.together == [["id0", "id1", "id2", "id3"]]
    assert set(singly) == {f"id{number}" for number in range(40)} - {"id2", "id3"}


def test_those_of_a_failed_call_cost_the_others_nothing(taking, real_client, logs):
    taking.taker.takes_many = True
    real_client.lpush("urgent", *(a_message(each) for each in ("bad", "a", "b", "c", "last")))

    assert taking.end_many_tasks(waiting=4 * SHARE) == ["last"]
    assert taking.together == [["bad", "a", "b", "c"]]
    assert [line["event"] for line in logs] == ["delivery.failed"]


def test_singly_while_spans_are_made(taking, real_client, monkeypatch):
    taking.taker.takes_many = True
    monkeypatch.setattr("worker.tasks.is_tracing", lambda: True)
    real_client.lpush("urgent", a_message("one"), a_message("two"))

    assert taking.end_many_tasks(waiting=10_000) == ["one", "two"]


@pytest.mark.one_server
def test_one_that_fails_costs_the_others_nothing(taking, real_client):
    real_client.lpush("urgent", a_message("first"), a_message("bad"), a_message("last"))

    assert taking.end_many_tasks() == ["first", "bad", "last"]


@pytest.mark.one_server
def test_what_is_no_hint_is_dropped_and_counted(taking, real_client):
    HintFilter.dropped.clear()
    real_client.lpush("urgent", *POISON.values(), a_message("good"))
    delivered = []

    while real_client.llen("urgent"):
        delivered += taking.end_many_tasks()

    assert delivered == ["good"]
    assert len(HintFilter.dropped) == len(POISON)


@pytest.mark.one_server
def test_at_rest_and_while_it_stops_a_process_takes_none(taking, real_client):
    real_client.lpush("urgent", a_message("one"))
    taking.taker.take(taking.app.tasks[Task.SEND_EMAIL.value])
    assert not taking.delivered

    taking.taker.is_stopped = True
    assert not taking.end_many_tasks()


def test_a_process_takes_none_of_a_queue_that_it_does_not_serve(real_redis_url, real_client):
    made = Taking(real_redis_url, ["bulk"])
    real_client.lpush("urgent", a_message("one"))

    HintFilter.dropped.clear()
    assert not made.end_many_tasks()
    assert not HintFilter.dropped
    signals.task_postrun.disconnect(made.taker.take)


def test_a_server_that_is_away_ends_no_task(tmp_path):
    made = Taking(f"unix://{tmp_path}/none", ["urgent"])

    HintFilter.dropped.clear()
    assert not made.end_many_tasks()
    assert not HintFilter.dropped
    signals.task_postrun.disconnect(made.taker.take)
