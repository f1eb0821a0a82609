"""Subscribers are told in turns: retried, given up, stopped; and a slow one holds up nobody."""

from __future__ import annotations

import threading
import time

import pytest

from shared.models import Queue
from shared.queue import Hint, Task
from shared.store import keys
from shared.store.webhooks.subscriptions import EVENTS
from shared.webhooks import Reply, Subscribers
from tests.delivery_services import some_delivery_services
from tests.subscriber_stub import SubscriberStub
from worker.webhooks import CRASHES, MAX_TURNS_EACH, WebhookSender

DELAYS = (5.0, 30.0)


@pytest.fixture
def services(client):
    return some_delivery_services(client, webhook_delays_seconds=DELAYS)


@pytest.fixture
def subscriber():
    with SubscriberStub() as stub:
        yield stub


@pytest.fixture
def herald(services):
    subscribers = Subscribers(allow_private=True, timeout_seconds=2)
    yield WebhookSender(services.services, subscribers)
    subscribers.close()


@pytest.fixture
def subscribe(services, subscriber):
    def subscribe(url=None, events=EVENTS):
        subscriptions = services.services.subscriptions
        secret, made = subscriptions.add("acme", url or subscriber.url, events, by="eve")
        return made.subscription_id, secret

    return subscribe


def deliver(services, user_id="ada"):
    reset_id = services.record(user_id)
    services.deliver(reset_id)
    return reset_id


def make_due(services, subscription_id):
    for tag in keys.TAGS:
        due = keys.webhooks_due(tag, subscription_id)
        for member in services.stores.client.zrange(due, 0, -1):
            services.stores.client.zadd(due, {member: 0})


def test_a_delivery_is_told_once_signed(services, herald, subscriber, subscribe):
    subscription_id, secret = subscribe()
    reset_id = deliver(services)

    number = herald.deliver_due(subscription_id)
    again = herald.deliver_due(subscription_id)

    assert (number, again) == (1, 0)
    told = subscriber.verified(secret)
    assert [(each["type"], each["data"]["resetId"]) for each in told] == [
        ("reset.accepted", reset_id)
    ]


def test_what_a_subscriber_reads_holds_no_address_and_no_code(
    services, herald, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    reset_id = deliver(services)
    code = services.services.codes.code(reset_id, services.services.codes.signing_key_id)

    herald.deliver_due(subscription_id)

    text = str(subscriber.calls)
    assert "ada@example.com" not in text
    assert code.formatted not in text


def test_one_that_fails_is_told_again_after_its_pause_by_the_same_id(
    services, herald, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([500, 204])
    deliver(services)

    first = herald.deliver_due(subscription_id)
    too_soon = herald.deliver_due(subscription_id)
    make_due(services, subscription_id)
    second = herald.deliver_due(subscription_id)

    assert (first, too_soon, second) == (0, 0, 1)
    assert len(set(subscriber.ids())) == 1
    assert len(subscriber.calls) == 2


def test_after_the_last_try_it_is_a_dead_letter_and_can_be_replayed(
    services, herald, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([500, 400, 302, 200])
    deliver(services)

    for _ in (*DELAYS, "the last"):
        herald.deliver_due(subscription_id)
        make_due(services, subscription_id)
    letters = services.services.webhooks.dead(subscription_id)
    services.services.webhooks.replay(subscription_id)
    told = herald.deliver_due(subscription_id)

    assert [(each.tries, each.answer) for each in letters] == [(3, "http_302")]
    assert told == 1


def test_a_subscriber_that_is_gone_is_told_no_more_until_it_is_enabled(
    services, herald, subscriber, subscribe
):
    subscriptions = services.services.subscriptions
    subscription_id, _ = subscribe()
    subscriber.answer_with([410, 204])
    deliver(services)

    herald.deliver_due(subscription_id)
    make_due(services, subscription_id)
    stopped = subscriptions.find(subscription_id)
    hints, turns = herald.hint_due(), herald.deliver_due(subscription_id)
    subscriptions.switch(stopped, disabled=None, by="eve")

    assert stopped.disabled == "gone"
    assert (hints, turns) == (0, 0)
    assert herald.deliver_due(subscription_id) == 1


def test_retry_after_is_waited_for(services, herald, subscriber, subscribe, client):
    subscription_id, _ = subscribe()
    subscriber.answer_with([429])
    subscriber.headers["Retry-After"] = "300"
    reset_id = deliver(services)

    herald.deliver_due(subscription_id)

    due = keys.webhooks_due(keys.tag_of(reset_id), subscription_id)
    left_ms = client.zscore(due, f"{reset_id}:accepted") - services.stores.now_ms()
    assert 299_000 < left_ms <= 300_000


def test_what_kills_whoever_tells_it_is_given_up(services, herald, subscriber, subscribe):
    subscription_id, _ = subscribe()
    reset_id = deliver(services)
    for _ in range(len(DELAYS) + 1 + CRASHES):
        services.services.webhooks.claim(subscription_id, keys.tag_of(reset_id))
        make_due(services, subscription_id)

    herald.deliver_due(subscription_id)

    assert subscriber.calls == []
    assert [each.answer for each in services.services.webhooks.dead(subscription_id)] == [
        "worker_died"
    ]


def test_a_sweep_hints_at_subscriptions_with_something_due(services, herald, subscribe):
    busy, _ = subscribe()
    subscribe(events=("reset.failed",))
    deliver(services)

    number = herald.hint_due()

    assert number == 1
    assert services.services.hints.published[-1] == Hint(busy, Task.SEND_WEBHOOK, Queue.WEBHOOKS)


def test_a_subscriber_has_a_few_turns_at_a_time_and_one_while_it_is_unwell(
    services, herald, subscriber, subscribe
):
    subscription_id, _ = subscribe()
    subscriber.answer_with([204, 500])
    for number in range(10):
        deliver(services, services.services.directory and _user(services, f"user-{number}"))

    while_well = herald.hint_due()
    herald.deliver_due(subscription_id)  # ends with the first that is not taken
    services.services.hints.published.clear()
    while_unwell = herald.hint_due()

    assert while_well == MAX_TURNS_EACH
    assert len(subscriber.calls) == 2
    assert while_unwell == 1


def test_a_slow_subscriber_holds_up_nobody_else(services, subscribe):
    release = threading.Event()

    class Calls:
        def __init__(self):
            self.told = []

        def call(self, url, *_, **__):
            if "slow" in url:
                release.wait(10)
                return Reply(None, "answer_timeout")
            self.told.append(url)
            return Reply(204, "http_204")

    calls = Calls()
    herald = WebhookSender(services.services, calls)
    slow, _ = subscribe("https://slow.example.com/")
    quick, _ = subscribe("https://quick.example.com/")
    for number in range(12):
        deliver(services, _user(services, f"user-{number}"))
    threads = [threading.Thread(target=herald.deliver_due, args=(slow,)) for _ in range(12)]
    for thread in threads:
        thread.start()

    began = time.monotonic()
    number = herald.deliver_due(quick)
    took = time.monotonic() - began
    alive = sum(thread.is_alive() for thread in threads)
    release.set()
    for thread in threads:
        thread.join()

    assert number == 12
    assert took < 5
    assert alive <= MAX_TURNS_EACH


def _user(services, user_id):
    from tests.builders import a_user

    return a_user(services.services, userId=user_id, email=f"{user_id}@example.com")
