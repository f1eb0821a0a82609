"""The tasks: a name, a policy, one call each. Only an id crosses the queue.

What a task returns is kept nowhere; Flower shows it: a word of how it ended, or how many.
"""

from __future__ import annotations

import structlog
from celery import Celery

from shared.queue import SENDING, Task
from worker.batches.feeder import BatchFeeder
from worker.bulk.delivery import BulkDelivery
from worker.delivery import Delivery
from worker.receipts import ReceiptProcessor
from worker.webhooks import WebhookSender

log = structlog.get_logger()


class DeliveryFailedError(Exception):
    """An error of ours, by its name alone: its own text may hold what nobody may read."""


class TaskDependencies:
    """What the tasks work with, there once the worker process is set up."""

    delivery: Delivery
    receipts: ReceiptProcessor
    feeder: BatchFeeder
    herald: WebhookSender
    bulk: BulkDelivery


def register_tasks(app: Celery, desk: TaskDependencies) -> None:
    """Give the application its tasks, one per channel, so that Flower tells them apart."""
    for task in SENDING.values():
        _register_delivery(app, desk, task.value)
    _register_receipts(app, desk)
    _register_feeding(app, desk)
    _register_webhooks(app, desk)
    _register_bulk(app, desk)


def _register_delivery(app: Celery, desk: TaskDependencies, name: str) -> None:
    @app.task(name=name, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def deliver(reset_id: str) -> str:
        try:
            return desk.delivery.deliver(reset_id)
        except Exception as error:
            log.exception("delivery.failed", reset_id=reset_id, exc_info=error)
            raise DeliveryFailedError(type(error).__name__) from None


def _register_receipts(app: Celery, desk: TaskDependencies) -> None:
    @app.task(name=Task.APPLY_RECEIPTS.value, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def apply_receipts(shard: str) -> int:
        try:
            return desk.receipts.apply(int(shard))
        except Exception as error:
            log.exception("receipt.failed", shard=shard, exc_info=error)
            raise DeliveryFailedError(type(error).__name__) from None


def _register_feeding(app: Celery, desk: TaskDependencies) -> None:
    @app.task(name=Task.FEED_BATCH.value, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def feed(batch_id: str) -> str:
        try:
            return desk.feeder.feed(batch_id)
        except Exception as error:
            log.exception("batch.failed", batch_id=batch_id, exc_info=error)
            raise DeliveryFailedError(type(error).__name__) from None


def _register_webhooks(app: Celery, desk: TaskDependencies) -> None:
    @app.task(name=Task.SEND_WEBHOOK.value, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def send_webhook(subscription_id: str) -> int:
        try:
            return desk.herald.deliver_due(subscription_id)
        except Exception as error:
            log.exception("webhook.failed", subscription=subscription_id, exc_info=error)
            raise DeliveryFailedError(type(error).__name__) from None


def _register_bulk(app: Celery, desk: TaskDependencies) -> None:
    @app.task(name=Task.SEND_EMAILS.value, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def deliver_many(reset_ids: str) -> int:
        try:
            return desk.bulk.deliver(reset_ids.split(","))
        except Exception as error:
            log.exception("delivery.failed", exc_info=error)
            raise DeliveryFailedError(type(error).__name__) from None
