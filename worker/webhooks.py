"""Deliver webhooks, a bounded number per subscription at a time.

A subscription has a few turns at a time in a process, and one while it does not answer well, so
that a slow subscriber delays no other.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.models import Queue
from shared.queue import Hint, Task
from shared.store import keys
from shared.store.admin.audit import Act
from shared.store.webhooks.deliveries import Webhook, WebhookOutcome
from shared.store.webhooks.subscriptions import Subscription
from shared.webhooks import Reply, Subscribers, build_body
from shared.wiring import Services

log = structlog.get_logger()

MAX_TURNS = 32  # in this process
MAX_TURNS_EACH = 4  # of one subscription
TURN_SECONDS = 5.0
SPREAD_EVERY_SECONDS = 5.0
SHORT_LIST = 40  # hints in the broker below which more are welcome
CRASHES = 5  # tries without an end, beyond the schedule: this webhook kills its worker
JITTER = 0.2


class SubscriberRefusedError(Exception):
    """A subscriber did not take a webhook; the text is its answer, which Flower shows."""


class WebhookSender:
    """Calls subscribers; any number of threads and processes may."""

    def __init__(self, services: Services, subscribers: Subscribers) -> None:
        """Both may be fakes."""
        self._services, self._subscribers = services, subscribers
        self._delays_seconds = services.settings.webhook_delays_seconds
        self._turns: Counter[str] = Counter()
        self._troubled: set[str] = set()
        self._lock = threading.Lock()
        self._spread_at = 0.0

    def hint_due(self) -> int:
        """Hint at every subscription with due webhooks; return how many hints. A periodic job."""
        subscriptions, hints = self._services.subscriptions, self._services.hints
        active = [each.subscription_id for each in subscriptions.all() if not each.disabled]
        if not active or hints.waiting(Queue.WEBHOOKS) > SHORT_LIST:
            return 0
        number = 0
        for subscription_id, standing in self._services.webhooks.read_backlogs(active).items():
            turns = min(standing.due, self._max_turns(subscription_id))
            for _ in range(turns):
                hints.publish(Hint(subscription_id, Task.SEND_WEBHOOK, Queue.WEBHOOKS))
            number += turns
        return number

    def spread(self) -> None:
        """Bring changed subscriptions to shards they did not reach. A periodic job."""
        if time.monotonic() >= self._spread_at:
            self._spread_at = time.monotonic() + SPREAD_EVERY_SECONDS
            self._services.subscriptions.spread()

    def deliver_due(self, subscription_id: str) -> int:
        """Send what is due until the subscriber refuses; return how many webhooks it took."""
        return self.take_turn(subscription_id)[0]

    def take_turn(self, subscription_id: str) -> tuple[int, str]:
        """Do as `deliver_due`; also return the answer that ended the turn, empty if none did."""
        number, refusal = 0, ""
        with self._turn(subscription_id) as is_free:
            subscription = self._services.subscriptions.find(subscription_id) if is_free else None
            if subscription is None or subscription.disabled:
                return 0, ""
            until = time.monotonic() + TURN_SECONDS
            secret = self._services.subscriptions.secret(subscription)
            for webhook in self._claim_due(subscription_id):
                if refusal := self._send(subscription, secret, webhook):
                    break
                number += 1
                if time.monotonic() > until:
                    break
        return number, refusal

    def _claim_due(self, subscription_id: str) -> Iterator[Webhook]:
        for tag in random.sample(keys.TAGS, len(keys.TAGS)):
            while webhook := self._services.webhooks.claim(subscription_id, tag):
                yield webhook

    def _send(self, subscription: Subscription, secret: str, webhook: Webhook) -> str:
        """Send one webhook; return the answer if the subscriber did not take it."""
        attributes = {
            "subscription": subscription.subscription_id,
            "reset_id": webhook.reset_id,
            "type": webhook.event,
            "attempt": webhook.tries,
        }
        if webhook.tries > len(self._delays_seconds) + 1 + CRASHES:
            self._services.webhooks.finish(webhook, WebhookOutcome.DEAD, answer="worker_died")
            log.error("webhook.dead", reason="worker_died", **attributes)
            return ""  # not the subscriber's fault
        began = time.monotonic()
        reply = self._subscribers.call(
            subscription.url, secret, webhook_id=webhook.webhook_id, body=build_body(webhook)
        )
        with self._lock:
            change = self._troubled.discard if reply.is_taken else self._troubled.add
            change(subscription.subscription_id)
        attributes["duration_ms"] = round((time.monotonic() - began) * 1000)
        if reply.is_taken:
            self._services.webhooks.finish(webhook, WebhookOutcome.DELIVERED, answer=reply.reason)
            log.info("webhook.told", **attributes)
            return ""
        self._note_failure(webhook, reply, attributes)
        if reply.is_gone:
            hook = subscription.subscription_id
            act = Act(by="subscriber", action="webhook.disable", target=hook, reason="gone")
            with self._services.audit.acting(act):
                self._services.subscriptions.switch(subscription, disabled="gone")
            log.error("webhook.stopped", subscription=subscription.subscription_id)
        return reply.reason

    def _note_failure(self, webhook: Webhook, reply: Reply, attributes: dict[str, object]) -> None:
        if webhook.tries > len(self._delays_seconds) and not reply.is_gone:
            self._services.webhooks.finish(webhook, WebhookOutcome.DEAD, answer=reply.reason)
            log.error("webhook.dead", reason=reply.reason, **attributes)
            return
        delay = self._delays_seconds[webhook.tries - 1] if not reply.is_gone else 0.0
        delay *= random.uniform(1 - JITTER, 1 + JITTER)
        delay = max(delay, reply.retry_after_seconds)
        self._services.webhooks.finish(
            webhook, WebhookOutcome.RETRY, delay_seconds=delay, answer=reply.reason
        )
        log.warning("webhook.deferred", reason=reply.reason, **attributes)

    @contextmanager
    def _turn(self, subscription_id: str) -> Iterator[bool]:
        """Take a turn if one is free, until the end; give whether one was."""
        with self._lock:
            own, most = self._turns[subscription_id], self._max_turns(subscription_id)
            is_free = self._turns.total() < MAX_TURNS and own < most
            self._turns[subscription_id] += is_free
        try:
            yield is_free
        finally:
            with self._lock:
                self._turns[subscription_id] -= is_free
                if not self._turns[subscription_id]:
                    del self._turns[subscription_id]

    def _max_turns(self, subscription_id: str) -> int:
        return 1 if subscription_id in self._troubled else MAX_TURNS_EACH
