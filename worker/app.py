"""The Celery application of the workers: `celery --app worker.app …` finds it here."""

from __future__ import annotations

import gc
import logging
import os
import socket
import uuid
from typing import Any

import structlog
from celery import Celery, bootsteps, signals

from shared.errors import SettingsError
from shared.languages import Languages
from shared.log import set_up_logging
from shared.models import DUE_QUEUES, Channel, Queue
from shared.providers import BulkProvider
from shared.providers.registry import build_providers
from shared.queue import Hint, HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.tracing import set_up_tracing
from shared.webhooks import Subscribers
from shared.wiring import Services, build_services, check_keys, connect_store
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder
from worker.broker_fallback import ConsumerProbe, LocalFallback, listen
from worker.delivery import Delivery
from worker.messages import MessageRenderer
from worker.pauses import PauseKeeper
from worker.receipts import ReceiptChore, ReceiptProcessor
from worker.sweeper import PeriodicJob, Sweeper
from worker.tasks import TaskDependencies, register_tasks
from worker.webhooks import WebhookSender

FLUSH_SECONDS = 0.25  # how much later Flower sees what happens
MAX_GATHERED = 1000  # beyond, they are sent at once


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
        dispatcher.buffer_limit = MAX_GATHERED
        self._flushing = parent.timer.call_repeatedly(FLUSH_SECONDS, dispatcher.flush)

    def stop(self, parent: Any) -> None:
        """Send what is left; what cannot be sent is kept for the next connection."""
        if self._flushing is not None:
            self._flushing.cancel()
            parent.event_dispatcher.flush()


def gather_events(app: Celery) -> None:
    """Have the workers of this application gather their events."""
    app.steps["consumer"].add(GatherEvents)


log = structlog.get_logger()

# New objects before the garbage is looked for: a circular's come and go by ten thousands, and
# Python's own 700 would have them all looked at dozens of times.
GARBAGE_THRESHOLD = 50_000


class WorkerProcess:
    """What lives as long as a worker process: services, delivery, sweeper."""

    def __init__(
        self, app: Celery, settings: Settings, desk: TaskDependencies, ears: ConsumerProbe
    ) -> None:
        """Nothing is connected yet: Flower imports this module too."""
        self._app, self._settings, self._desk, self._ears = app, settings, desk, ears
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._hints: LocalFallback | None = None
        self._sweeper: Sweeper | None = None
        self._gathers = False  # whether the first provider of e-mail takes many at once
        self.exit_status = 0

    def set_up(self, **_: Any) -> None:
        """Build everything the tasks need before the first one is taken, and sweep from now on.

        Whether the broker is there is another matter: sweeps do without it.

        Raises:
            SystemExit: it cannot be built; Celery's signals swallow every other exception.
        """
        set_up_logging(self._settings.log_level, service="worker")
        try:
            services = self._build()
            gc.freeze()  # what is built stays: no look for garbage goes through it again
            gc.set_threshold(GARBAGE_THRESHOLD)
            self._begin(services)
        except SettingsError as error:
            raise SystemExit(f"keyturn worker: {error}") from error
        except Exception as error:
            log.error("worker.unbuilt", exc_info=error)
            raise SystemExit(1) from error

    @property
    def _served(self) -> tuple[Queue, ...]:
        return tuple(q for q in Queue if q.value in self._app.amqp.queues.consume_from)

    def _build(self) -> Services:
        settings = self._settings
        set_up_tracing("worker", os.environ)
        self._hints = LocalFallback(
            HintPublisher(self._app),
            self._follow,
            self._served,
            ears=self._ears,
            threads=settings.worker_threads,
        )
        services = build_services(settings, client=connect_store(settings), hints=self._hints)
        check_keys(services)
        renderer = MessageRenderer(settings, Languages())
        providers = build_providers(settings)
        self._desk.feeder = BatchFeeder(services, Estimate(services, renderer))
        self._desk.delivery = Delivery(services, providers, renderer)
        self._desk.bulk = self._desk.delivery.many(renderer.circulars)
        self._gathers = isinstance(next(iter(providers[Channel.EMAIL]), None), BulkProvider)
        self._desk.receipts = ReceiptProcessor(services)
        subscribers = Subscribers(allow_private=settings.webhook_allow_private)
        self._desk.herald = WebhookSender(services, subscribers)
        return services

    def _follow(self, hint: Hint) -> None:
        self._app.tasks[hint.task.value].run(hint.about)

    def _begin(self, services: Services) -> None:
        served = self._served
        self._sweeper = Sweeper(
            services.dues,
            services.hints,
            tuple(queue for queue in served if queue in DUE_QUEUES),
            worker=f"{','.join(served)} {self._name}",
            pace_seconds=self._settings.sweep_seconds,
            chores=self._chores(services, served),
            gathered=(Queue.BULK,) if self._gathers else (),
        )
        self._sweeper.start()

    def note_ready(self, sender: Any = None, **_: Any) -> None:
        """The broker is there, too."""
        log.info("worker.started", queues=[queue.value for queue in self._served], name=str(sender))

    def _chores(self, services: Services, served: tuple[Queue, ...]) -> tuple[PeriodicJob, ...]:
        queues = tuple(queue for queue in served if queue in DUE_QUEUES)
        keeper = PauseKeeper(
            services.pauses, services.waiting, queues, worker=self._name, now=services.dues.now_ms
        )
        delivery = self._desk.delivery
        chores: list[PeriodicJob] = [delivery.lost_claims.recall, delivery.watch.refresh]
        chores += [keeper.park, keeper.let_go, services.samples.take]
        if Queue.RECEIPTS in served:
            chores.append(ReceiptChore(services, self._desk.receipts))
        if Queue.BULK in queues:
            chores.append(self._desk.feeder.hint)
        if Queue.WEBHOOKS in served:
            chores += [self._desk.herald.hint_due, self._desk.herald.spread]
        return tuple(chores)

    def stop_sweeping(self, **_: Any) -> None:
        """No new hints from here; what is being sent is finished."""
        if self._sweeper:
            self._sweeper.stop()
        if self._hints:
            self._hints.stop()

    def end(self, sender: Any = None, **_: Any) -> None:
        """Everything is finished; Celery, when it gave up, says so to us and to nobody else."""
        self.exit_status = getattr(sender, "exitcode", None) or 0
        if self._hints:
            self._hints.close()
        log.info("worker.stopped")


def _build() -> tuple[Celery, WorkerProcess]:
    settings = load_settings(os.environ)
    desk = TaskDependencies()
    app = make_celery(settings)
    register_tasks(app, desk)
    gather_events(app)
    listen(app, ears := ConsumerProbe())
    process = WorkerProcess(app, settings, desk, ears)
    keep: dict[str, Any] = {"weak": False}
    signals.setup_logging.connect(lambda **_: _set_up_logging(settings), **keep)
    signals.worker_init.connect(process.set_up, **keep)
    signals.worker_ready.connect(process.note_ready, **keep)
    signals.worker_shutting_down.connect(process.stop_sweeping, **keep)
    signals.worker_shutdown.connect(process.end, **keep)
    return app, process


def _set_up_logging(settings: Settings) -> None:
    set_up_logging(settings.log_level, service="worker")
    # At every lost connection Celery speaks of late acknowledgement, which nobody here uses.
    logging.getLogger("py.warnings").addFilter(
        lambda record: "late acknowledgement" not in record.getMessage()
    )


app, process = _build()
