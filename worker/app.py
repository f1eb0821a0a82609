"""Build a worker process: services, tasks, sweeper."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import time
import uuid
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from celery import Celery, signals

from shared.directories.gate import leave_threads
from shared.errors import SettingsError
from shared.languages import Languages
from shared.log import set_up_logging
from shared.messages.rendering import MessageRenderer
from shared.messages.unfilled import count_unfilled
from shared.models import DUE_QUEUES, Channel, Message, Queue
from shared.providers import BulkProvider, Provider
from shared.providers.registry import build_providers
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.settings.types import BrokerKind
from shared.tracing import set_up_tracing
from shared.webhooks import Subscribers
from shared.wiring import Services, build_services, check_directory, check_keys, connect_store
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder
from worker.broker_fallback import ConsumerProbe, LocalFallback
from worker.bulk.delivery import BulkDelivery
from worker.bulk.messages import BulkMessageRenderer
from worker.delivery import Delivery
from worker.forgot import ForgotProcessor
from worker.pauses import PauseKeeper
from worker.receipts import ReceiptJob, ReceiptProcessor, take_simulated_reports
from worker.sweeper import PeriodicJob, Sweeper
from worker.tasks import HintTaker, TaskDependencies, add_steps, count_dropped, register_tasks
from worker.webhooks import WebhookSender

log = structlog.get_logger()

Providers: TypeAlias = dict[Channel, list[Provider[Message]]]


class WorkerProcess:
    """The objects of a worker process: services, delivery, sweeper."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        """Register tasks and signal handlers; the rest is built once the worker starts."""
        self._app, self._settings = app, settings
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._needs, self._probe = TaskDependencies(), ConsumerProbe()
        self._hints: LocalFallback | None = None
        self._sweeper: Sweeper | None = None
        self.exit_status = 0
        self.alive_file: Path | None = None  # touched after every sweep
        register_tasks(app, self._needs)
        self._taker = HintTaker(app, self._needs)
        add_steps(app)
        self._probe.watch(app)
        for signal, receiver in (
            (signals.setup_logging, self.set_up_logging),
            (signals.worker_init, self.set_up),
            (signals.worker_ready, self.note_ready),
            (signals.worker_shutting_down, self.stop_sweeping),
            (signals.worker_shutdown, self.end),
        ):
            signal.connect(receiver, weak=False)

    def set_up_logging(self, **_: Any) -> None:
        """Log as the web does, without one of Celery's warnings."""
        set_up_logging(self._settings.log_level, service="worker")
        # At every lost connection Celery warns of late acknowledgement, which is not used here.
        logging.getLogger("py.warnings").addFilter(
            lambda record: "late acknowledgement" not in record.getMessage()
        )

    def set_up(self, **_: Any) -> None:
        """Build what the tasks need, and start the sweeper, which works without the broker.

        Raises:
            SystemExit: it cannot be built; Celery ignores every other exception of a signal.
        """
        set_up_logging(self._settings.log_level, service="worker")
        try:
            services, providers = self._build_services(), build_providers(self._settings)
            self._build_needs(services, providers)
            gc.freeze()  # later collections skip what has been built
            self._start_sweeper(services, providers)
        except SettingsError as error:
            print(f"keyturn worker: {error}", file=sys.stderr)  # noqa: T201
            raise SystemExit(SettingsError.EXIT_STATUS) from error
        except Exception as error:
            log.error("worker.unbuilt", exc_info=error)
            raise SystemExit(1) from error

    def note_ready(self, sender: Any = None, **_: Any) -> None:
        """Log that the worker consumes from the broker."""
        log.info("worker.started", queues=[queue.value for queue in self._served], name=str(sender))

    def stop_sweeping(self, **_: Any) -> None:
        """Publish and take no more hints; messages being sent are finished."""
        self._taker.is_stopped = True
        if self._sweeper:
            self._sweeper.stop()
        if self._hints:
            self._hints.stop()

    def end(self, sender: Any = None, **_: Any) -> None:
        """Record the exit status, which Celery drops, and publish the waiting hints."""
        self.exit_status = getattr(sender, "exitcode", None) or 0
        if self._hints:
            self._hints.close()
        log.info("worker.stopped")

    @property
    def _served(self) -> tuple[Queue, ...]:
        return tuple(q for q in Queue if q.value in self._app.amqp.queues.consume_from)

    def _build_services(self) -> Services:
        settings = self._settings
        set_up_tracing("worker", os.environ)
        self._hints = LocalFallback(
            HintPublisher(self._app),
            lambda hint: self._app.tasks[hint.task.value].run(hint.about),
            self._served,
            probe=self._probe,
            threads=settings.worker_threads,
            is_alone=settings.broker_kind is BrokerKind.NONE,
        )
        check_directory(settings)
        services = build_services(settings, client=connect_store(settings), hints=self._hints)
        check_keys(services.digests)
        leave_threads(services.directory, settings.worker_threads)
        return services

    def _build_needs(self, services: Services, providers: Providers) -> None:
        settings, needs, languages = self._settings, self._needs, Languages()
        note_unfilled = count_unfilled(services.counters)
        renderer = MessageRenderer(settings, languages, note_unfilled)
        needs.delivery = delivery = Delivery(services, providers, renderer)
        bulk_renderer = BulkMessageRenderer(settings, languages, note_unfilled)
        needs.bulk = BulkDelivery(services, delivery, bulk_renderer)
        needs.receipts = ReceiptProcessor(services)
        needs.feeder = BatchFeeder(services, Estimate(services, renderer))
        subscribers = Subscribers(allow_private=settings.webhook_allow_private)
        needs.webhooks = WebhookSender(services, subscribers)
        needs.forgot = ForgotProcessor(services)

    def _start_sweeper(self, services: Services, providers: Providers) -> None:
        served, needs = self._served, self._needs
        queues = tuple(queue for queue in served if queue in DUE_QUEUES)
        keeper = PauseKeeper(
            services.pauses, services.waiting, queues, worker=self._name, now=services.dues.now_ms
        )
        jobs: list[PeriodicJob] = [needs.delivery.lost_claims.recall, needs.delivery.health.refresh]
        jobs += [keeper.park, keeper.let_go, services.samples.take]
        jobs.append(services.audit.trim)
        jobs += [services.directory.forget_former_emails, partial(count_dropped, services.counters)]
        if Queue.URGENT in served:
            jobs.append(needs.forgot.hint)
        if Queue.RECEIPTS in served:
            jobs.append(ReceiptJob(services, needs.receipts))
            if any(each.name == "outbox" for found in providers.values() for each in found):
                jobs.append(partial(take_simulated_reports, services))
        if Queue.BULK in served:
            jobs.append(needs.feeder.hint)
        if Queue.WEBHOOKS in served:
            jobs += [needs.webhooks.hint_due, needs.webhooks.spread]
        if self.alive_file:
            jobs.append(self.alive_file.touch)
        takes_many = isinstance(next(iter(providers[Channel.EMAIL]), None), BulkProvider)
        self._taker.takes_many = takes_many
        self._sweeper = Sweeper(
            services.dues,
            services.hints,
            queues,
            worker=f"{','.join(served)} {self._name} {_own_version()} {int(time.time())}",
            pace_seconds=self._settings.sweep_seconds,
            jobs=jobs,
            gathered=(Queue.BULK,) if takes_many else (),
            is_busy=needs.bulk.is_busy,
            is_alone=self._settings.broker_kind is BrokerKind.NONE,
            verify=services.digests.verify,
        )
        self._sweeper.start()


def _own_version() -> str:
    try:
        return version("keyturn")
    except PackageNotFoundError:  # run from files that were never installed
        return "unknown"


app = make_celery(settings := load_settings(os.environ))
process = WorkerProcess(app, settings)
