"""Subscribers are told in turns: retried, given up, stopped; and a slow one holds up nobody."""

from __future__ import annotations

import threading
import time

import pytest
from celery import Celery

from shared.models import Queue
from shared.queue import Hint, Task
from shared.store import keys
from shared.store.webhooks.deliveries import WebhookOutcome
from shared.store.webhooks.subscriptions import EVENTS
from shared.webhooks import Reply, Subscribers
from tests.support.delivery_services import some_delivery_services
from tests.support.subscriber_stub import SubscriberStub
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS
from worker.tasks import TaskDependencies, register_tasks
from worker.webhooks import CRASHES, MAX_TURNS_EACH, WebhookSender

DELAYS = (5.0, 30.0)


@pytest.fixture
def worker(client):
    return some_delivery_services(client, webhook_delays_seconds=DELAYS)


@pytest.fixture
def subscriber():
    with SubscriberStub() as stub:
        yield stub


@pytest.fixture
def sender(worker):
    subscribers = Subscribers(allow_private=True, timeout_seconds=2)
    yield WebhookSender(worker.services, subscribers)
    subscribers.close()


@pytest.fixture
def subscribe(worker, subscriber):
    def subscribe(url=None, events=EVENTS):
        subscriptions = worker.services.subscriptions
        secret, made = subscriptions.add("acme", url or subscriber.url, events)
        return made.subscription_id, secret

    return subscribe


def deliver(worker, user_id="ada"):
    reset_id = worker.record(user_id)
    worker.deliver(reset_id)
    return reset_id


def make_due(worker, subscription_id):
    for tag in keys.TAGS:
        due = keys.webhooks_due(tag, subscription_id)
        for member in worker.stores.client.zrange(due, 0, -1):
            worker.stores.client.zadd(due, {member: 0})


def test_a_delivery_is_told_once_signed(worker, sender, subscriber, subscribe):
    subscription_id, secret = subscribe()
    reset_id = deliver(worker)

    number = sender.deliver_due(subscription_id)
    again = sender.deliver_due(subscription_id)

    assert (number, again) == (1, 0)
    told = subscriber.verified(secret)
    assert [(each["type"], each["data"]["resetId"]) for each in told] == [
        ("reset.accepted", reset_id)
    ]


def test_what_a_subscriber_reads_holds_no_address_and_no_code(
    worker, sender, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    reset_id = deliver(worker)
    code = worker.services.codes.code(reset_id, worker.services.codes.signing_key_id)

    sender.deliver_due(subscription_id)

    text = str(subscriber.calls)
    assert "ada@example.com" not in text
    assert code.formatted not in text


def test_one_that_fails_is_told_again_after_its_pause_by_the_same_id(
    worker, sender, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([500, 204])
    deliver(worker)

    first = sender.deliver_due(subscription_id)
    too_soon = sender.deliver_due(subscription_id)
    make_due(worker, subscription_id)
    second = sender.deliver_due(subscription_id)

    assert (first, too_soon, second) == (0, 0, 1)
    assert len(set(subscriber.ids())) == 1
    assert len(subscriber.calls) == 2


def test_after_the_last_try_it_is_a_dead_letter_and_can_be_replayed(
    worker, sender, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([500, 400, 302, 200])
    deliver(worker)

    for _ in (*DELAYS, "the last"):
        sender.deliver_due(subscription_id)
        make_due(worker, subscription_id)
    dead = worker.services.webhooks.dead(subscription_id)
    worker.services.webhooks.replay(subscription_id)
    told = sender.deliver_due(subscription_id)

    assert [(each.tries, each.answer) for each in dead] == [(3, "http_302")]
    assert told == 1


def test_a_subscriber_that_is_gone_is_told_no_more_until_it_is_enabled(
    worker, sender, subscriber, subscribe
):
    subscriptions = worker.services.subscriptions
    subscription_id, _ = subscribe()
    subscriber.answer_with([410, 204])
    deliver(worker)

    sender.deliver_due(subscription_id)
    make_due(worker, subscription_id)
    stopped = subscriptions.find(subscription_id)
    hints, turns = sender.hint_due(), sender.deliver_due(subscription_id)
    subscriptions.switch(stopped, disabled=None)

    assert stopped.disabled == "gone"
    assert (hints, turns) == (0, 0)
    assert sender.deliver_due(subscription_id) == 1


def test_retry_after_is_waited_for(worker, sender, subscriber, subscribe, client):
    subscription_id, _ = subscribe()
    subscriber.answer_with([429])
    subscriber.headers["Retry-After"] = "300"
    reset_id = deliver(worker)

    sender.deliver_due(subscription_id)

    due = keys.webhooks_due(keys.tag_of(reset_id), subscription_id)
    left_ms = client.zscore(due, f"{reset_id}:accepted") - worker.stores.now_ms()
    assert 299_000 < left_ms <= 300_000


def test_what_kills_whoever_tells_it_is_given_up(worker, sender, subscriber, subscribe):
    subscription_id, _ = subscribe()
    reset_id = deliver(worker)
    for _ in range(len(DELAYS) + 1 + CRASHES):
        worker.services.webhooks.claim(subscription_id, keys.tag_of(reset_id))
        make_due(worker, subscription_id)

    sender.deliver_due(subscription_id)

    assert subscriber.calls == []
    assert [each.answer for each in worker.services.webhooks.dead(subscription_id)] == [
        "worker_died"
    ]


def test_a_sweep_hints_at_subscriptions_with_something_due(worker, sender, subscribe):
    busy, _ = subscribe()
    subscribe(events=("reset.failed",))
    deliver(worker)

    number = sender.hint_due()

    assert number == 1
    assert worker.services.hints.published[-1] == Hint(busy, Task.SEND_WEBHOOK, Queue.WEBHOOKS)


def test_a_subscriber_has_a_few_turns_at_a_time_and_one_while_it_is_unwell(
    worker, sender, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([204, 500])
    for number in range(10):
        deliver(worker, worker.services.directory and _user(worker, f"user-{number}"))

    while_well = sender.hint_due()
    sender.deliver_due(subscription_id)  # ends with the first that is not taken
    worker.services.hints.published.clear()
    while_unwell = sender.hint_due()

    assert while_well == MAX_TURNS_EACH
    assert len(subscriber.calls) == 2
    assert while_unwell == 1


def test_a_slow_subscriber_holds_up_nobody_else(worker, subscribe):
    release = threading.Event()

    class Calls:
        def __init__(self):
            self.told = []

        def call(self, url, *_, **__):
            if "slow" in url:
                release.wait(HANG_SECONDS)
                return Reply(None, "answer_timeout")
            self.told.append(url)
            return Reply(204, "http_204")

    calls = Calls()
    sender = WebhookSender(worker.services, calls)
    slow, _ = subscribe("https://slow.example.com/")
    quick, _ = subscribe("https://quick.example.com/")
    for number in range(12):
        deliver(worker, _user(worker, f"user-{number}"))
    threads = [threading.Thread(target=sender.deliver_due, args=(slow,)) for _ in range(12)]
    for thread in threads:
        thread.start()

    began = time.monotonic()
    number = sender.deliver_due(quick)
    took = time.monotonic() - began
    alive = sum(thread.is_alive() for thread in threads)
    release.set()
    for thread in threads:
        thread.join()

    assert number == 12
    assert took < SLACK_SECONDS
    assert alive <= MAX_TURNS_EACH


def _user(worker, user_id):
    from tests.support.builders import a_user

    return a_user(worker.services, userId=user_id, email=f"{user_id}@example.com")


def test_a_turn_that_was_refused_fails_in_flower_with_the_answer(
    worker, sender, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([500, 204])
    deliver(worker)
    app, needs = Celery("test", set_as_current=False, broker="memory://"), TaskDependencies()
    register_tasks(app, needs)
    needs.webhooks = sender
    task = app.tasks[Task.SEND_WEBHOOK.value]

    refused = task.apply((subscription_id,))
    make_due(worker, subscription_id)
    taken = task.apply((subscription_id,))

    assert (refused.state, str(refused.result)) == ("FAILURE", "http_500")
    assert (taken.state, taken.result) == ("SUCCESS", 1)
    answers = worker.services.webhooks.answers([subscription_id])[subscription_id]
    assert [(each.outcome, each.tries, each.answer) for each in answers] == [
        (WebhookOutcome.DELIVERED, 2, "http_204"),
        (WebhookOutcome.RETRY, 1, "http_500"),
    ]
