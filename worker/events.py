"""Task events for Flower in a few large messages: sent one by one they cost as much as delivery."""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps

FLUSH_SECONDS = 0.25  # how much later Flower sees what happens
MOST_GATHERED = 1000  # beyond, they are sent at once


class GatherEvents(bootsteps.StartStopStep):  # type: ignore[misc]
    """Part of the worker's connection: started after its event dispatcher, each time anew."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        self._flushing: Any = None
        super().__init__(parent, **options)

    def start(self, parent: Any) -> None:
        """Take over the flushing, which Celery does after every single event."""
        dispatcher = parent.event_dispatcher
        dispatcher.on_send_buffered = None
        dispatcher.buffer_limit = MOST_GATHERED
        self._flushing = parent.timer.call_repeatedly(FLUSH_SECONDS, dispatcher.flush)

    def stop(self, parent: Any) -> None:
        """Send what is left; what cannot be sent is kept for the next connection."""
        if self._flushing is not None:
            self._flushing.cancel()
            parent.event_dispatcher.flush()


def gather_events(app: Celery) -> None:
    """Have the workers of this application gather their events."""
    app.steps["consumer"].add(GatherEvents)
