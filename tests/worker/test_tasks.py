from __future__ import annotations

from types import SimpleNamespace

from celery import Celery
from celery.events.dispatcher import EventDispatcher

from worker.tasks import FLUSH_SECONDS, GatherEvents, add_steps


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
