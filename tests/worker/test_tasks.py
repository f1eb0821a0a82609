from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace

import pytest
from celery import Celery, signals
from celery.events.dispatcher import EventDispatcher

from shared.queue import Task
from tests.support.broker_messages import POISON, a_message
from worker.tasks import (
    FLUSH_SECONDS,
    MAX_MORE,
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
        needs = TaskDependencies()
        needs.delivery = SimpleNamespace(deliver=self.deliver)
        register_tasks(self.app, needs)
        self.taker = HintTaker(self.app)

    def deliver(self, reset_id: str) -> str:
        self.delivered.append(reset_id)
        if reset_id == "bad":
            raise RuntimeError
        return "accepted"

    def end_many_tasks(self) -> list[str]:
        """A delivery ends after many others; return what the thread delivers then."""
        self.delivered.clear()
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
    ids = [f"id{number}" for number in range(40)]
    real_client.lpush("urgent", *(a_message(each) for each in ids))

    assert taking.end_many_tasks() == ids[:MAX_MORE]
    assert real_client.llen("urgent") == 40 - MAX_MORE


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
