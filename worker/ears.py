"""Whether this worker process hears of hints: its consumer's connection, and when a task came."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery import Celery, bootsteps, signals


class Ears:
    """What is known of the consumer."""

    def __init__(self) -> None:
        """The consumer has not been connected yet."""
        self.is_open: bool | None = None  # None until the broker is there for the first time
        self.heard_at = monotonic()  # when a task last came by the broker

    def hear(self, **_: Any) -> None:
        """A task came by the broker."""
        self.heard_at = monotonic()


def listen(app: Celery, ears: Ears) -> None:
    """Have the workers of this application say what they hear."""

    class Listen(bootsteps.StartStopStep):  # type: ignore[misc]
        """Part of the worker's connection: started once it consumes, each time anew."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, _parent: Any) -> None:
            ears.is_open, ears.heard_at = True, monotonic()

        def stop(self, _parent: Any) -> None:
            ears.is_open = False

    app.steps["consumer"].add(Listen)
    signals.task_prerun.connect(ears.hear, weak=False)
