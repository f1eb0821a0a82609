"""Webhooks are recorded in the same step as the change of a reset, then claimed and finished."""

from __future__ import annotations

import pytest

from shared.models import Kind, Outcome, Status
from shared.store import keys
from shared.store.digests import Digests
from shared.store.webhooks.deliveries import WebhookOutcome, WebhookStore
from shared.store.webhooks.subscriptions import EVENTS, SubscriptionStore
from tests.support.store_builders import SECRET, stores_of

URL = "https://hooks.example.com/keyturn"


@pytest.fixture
def stores(client):
    return stores_of(client)


@pytest.fixture
def subscriptions(client, stores):
    return SubscriptionStore(client, stores.digests)


@pytest.fixture
def webhooks(client):
    return WebhookStore(client)


@pytest.fixture
def subscribe(subscriptions):
    def subscribe(org_id="acme", events=EVENTS):
        return subscriptions.add(org_id, URL, tuple(events))[1].subscription_id

    return subscribe


def words_for(webhooks, subscription_id):
    """What is due for a subscription, oldest first; it stays claimed."""
    found = []
    for tag in keys.TAGS:
        while webhook := webhooks.claim(subscription_id, tag):
            found.append(webhook)
    return [
        webhook.event_name for webhook in sorted(found, key=lambda each: (each.at, each.event_name))
    ]


def claim_one(webhooks, subscription_id):
    return next(filter(None, (webhooks.claim(subscription_id, tag) for tag in keys.TAGS)))


def test_nothing_is_noted_without_a_subscription(client, stores):
    stores.attempt(stores.record())

    assert list(client.scan_iter("{kt:*}:wh*")) == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.ACCEPTED, Outcome.ACCEPTED),
        (Status.FAILED, Outcome.PERMANENT),
        (Status.SUPPRESSED, Outcome.PERMANENT),
    ],
)
def test_the_end_of_an_attempt_is_noted_with_its_reason(
    stores, subscribe, webhooks, status, outcome
):
    subscription_id = subscribe()

    reset_id = stores.record()
    stores.attempt(reset_id, outcome, status, reason="because")

    webhook = claim_one(webhooks, subscription_id)
    assert webhook.webhook_id == f"msg_{reset_id}_{status}"
    assert (webhook.user_id, webhook.org_id, webhook.channel) == ("ada", "acme", "email")
    assert (webhook.status, webhook.reason) == (status.value, "because")


def test_a_retry_and_a_doubt_are_not_told(stores, subscribe, webhooks):
    subscription_id = subscribe()

    reset_id = stores.record()
    stores.retry(reset_id)
    stores.doubt(reset_id)

    assert words_for(webhooks, subscription_id) == []


def test_an_expired_and_an_overtaken_reset_are_told(stores, subscribe, webhooks):
    subscription_id = subscribe()

    first = stores.record("bob")
    stores.end_in(first, -1)
    stores.make_due(first)
    stores.resets.claim(first)
    stores.record("ada")
    stores.record("ada")

    assert sorted(words_for(webhooks, subscription_id)) == ["cancelled", "expired"]


def test_a_used_code_is_told_and_its_notice_is_not(stores, subscribe, webhooks):
    subscription_id = subscribe()

    reset_id = stores.record()
    stores.attempt(reset_id)
    stores.complete(reset_id)
    notice = next(
        each for tag in keys.TAGS for each in stores.client.zrange(keys.due(tag, "urgent"), 0, -1)
    )
    stores.attempt(notice)

    assert words_for(webhooks, subscription_id) == ["accepted", "completed", "password.changed"]


def test_a_code_the_caller_got_is_told_when_it_is_used_alone(stores, subscribe, webhooks):
    subscription_id = subscribe()

    reset_id = stores.record(kind=Kind.RETURNED)
    stores.complete(reset_id)

    assert words_for(webhooks, subscription_id) == ["completed", "password.changed"]


def test_only_what_was_asked_for_and_only_one_s_own_is_told(stores, subscribe, webhooks):
    failures = subscribe(events=("reset.failed", "reset.undelivered"))
    another = subscribe("globex")
    everything = subscribe()

    stores.attempt(stores.record())

    assert words_for(webhooks, failures) == []
    assert words_for(webhooks, another) == []
    assert words_for(webhooks, everything) == ["accepted"]


def test_a_removed_subscription_is_told_no_more(client, stores, subscribe, subscriptions, webhooks):
    subscription_id = subscribe()
    stores.attempt(stores.record())

    subscriptions.remove(subscriptions.find(subscription_id))
    dropped = webhooks.forget(subscription_id)
    stores.attempt(stores.record("bob"))

    assert dropped == 1
    assert list(client.scan_iter("{kt:*}:wh*")) == []


def test_a_disabled_subscription_keeps_what_it_was_to_be_told(
    stores, subscribe, subscriptions, webhooks
):
    subscription_id = subscribe()
    stores.attempt(stores.record())

    subscriptions.switch(subscriptions.find(subscription_id), disabled="gone")
    stores.attempt(stores.record("bob"))

    assert subscriptions.find(subscription_id).disabled == "gone"
    assert words_for(webhooks, subscription_id) == ["accepted"]


def test_one_that_was_removed_meanwhile_stays_removed(subscribe, subscriptions):
    subscription_id = subscribe()
    found = subscriptions.find(subscription_id)
    subscriptions.remove(found)

    is_there = subscriptions.switch(found, disabled="gone")

    assert not is_there
    assert subscriptions.all() == []


def test_who_read_an_older_list_does_not_overwrite_a_newer_one(
    client, stores, subscribe, subscriptions, webhooks
):
    subscribe("globex")
    version = int(client.get(keys.SUBSCRIPTIONS_VERSION))
    subscription_id = subscribe()

    subscriptions._scripts.run_many(
        "webhook/subscribe", [((keys.subscribed(tag),), (version,)) for tag in keys.TAGS]
    )
    stores.attempt(stores.record())

    assert words_for(webhooks, subscription_id) == ["accepted"]


def test_a_list_that_reached_no_shard_is_spread_later(
    client, stores, subscribe, subscriptions, webhooks
):
    subscription_id = subscribe()
    client.delete(*(keys.subscribed(tag) for tag in keys.TAGS))

    subscriptions.spread()
    stores.attempt(stores.record())

    assert words_for(webhooks, subscription_id) == ["accepted"]


@pytest.mark.parametrize("client", ["real"], indirect=True)  # the fake takes seconds for so many
def test_a_subscription_that_is_too_far_behind_loses_the_newest(
    client, stores, subscribe, webhooks
):
    subscription_id = subscribe()
    reset_id = stores.record()
    due = keys.webhooks_due(keys.tag_of(reset_id), subscription_id)
    client.zadd(due, {f"x{number}": 9e15 for number in range(5_000)})

    stores.attempt(reset_id)

    assert client.zcard(due) == 5_000
    assert stores.counters.totals()["w:dropped"] == 1


def test_the_secret_stands_sealed_and_outlives_a_change_of_keys(client, subscriptions):
    secret, made = subscriptions.add("acme", URL, EVENTS)
    stored = str(client.hgetall(keys.SUBSCRIPTIONS))

    Digests(client, ("another key of more than thirty-two signs", SECRET)).digest("x", "")
    rotated = Digests(client, ("another key of more than thirty-two signs",))

    assert secret.startswith("whsec_")
    assert secret.removeprefix("whsec_") not in stored
    assert secret not in repr(made)
    assert SubscriptionStore(client, rotated).secret(made) == secret


# One try after another.


def test_a_webhook_is_claimed_once_and_again_when_its_lease_is_over(
    client, stores, subscribe, webhooks
):
    subscription_id = subscribe()
    stores.attempt(stores.record())
    first = claim_one(webhooks, subscription_id)
    due = keys.webhooks_due(keys.tag_of(first.reset_id), subscription_id)

    while_it_lasts = webhooks.claim(subscription_id, keys.tag_of(first.reset_id))
    client.zadd(due, {first.member: 0})
    second = claim_one(webhooks, subscription_id)

    assert while_it_lasts is None
    assert (first.tries, second.tries) == (1, 2)
    assert second.webhook_id == first.webhook_id
    assert not webhooks.finish(first, WebhookOutcome.DEAD)
    assert webhooks.finish(second, WebhookOutcome.DELIVERED)


def test_what_is_told_leaves_nothing_behind(client, stores, subscribe, webhooks):
    subscription_id = subscribe()
    stores.attempt(stores.record())

    webhook = claim_one(webhooks, subscription_id)
    webhooks.finish(webhook, WebhookOutcome.DELIVERED, answer="http_204")
    again = webhooks.finish(webhook, WebhookOutcome.DELIVERED)

    assert not again
    assert list(client.scan_iter("{kt:*}:wh*")) == []
    (answer,) = webhooks.answers([subscription_id])[subscription_id]
    assert (answer.outcome, answer.answer) == ("told", "http_204")
    assert not webhooks.read_backlogs([subscription_id])[subscription_id].is_failing
    webhooks.forget(subscription_id)
    assert webhooks.answers([subscription_id]) == {subscription_id: []}
    assert stores.counters.totals()["w:told"] == 1


def test_another_try_is_due_after_its_pause(stores, client, subscribe, webhooks):
    subscription_id = subscribe()
    stores.attempt(stores.record())
    webhook = claim_one(webhooks, subscription_id)

    webhooks.finish(webhook, WebhookOutcome.RETRY, delay_seconds=30, answer="http_500")

    due = keys.webhooks_due(keys.tag_of(webhook.reset_id), subscription_id)
    assert 29_000 < client.zscore(due, webhook.member) - stores.now_ms() <= 30_000
    assert webhooks.read_backlogs([subscription_id])[subscription_id].waiting == 1
    assert webhooks.read_backlogs([subscription_id])[subscription_id].due == 0


def test_a_dead_letter_is_listed_and_replayed_with_all_its_tries(stores, subscribe, webhooks):
    subscription_id = subscribe()
    stores.attempt(stores.record())
    webhooks.finish(claim_one(webhooks, subscription_id), WebhookOutcome.DEAD, answer="http_500")

    dead = webhooks.dead(subscription_id)
    before = webhooks.read_backlogs([subscription_id])[subscription_id]
    number = webhooks.replay(subscription_id)

    assert [(each.event_name, each.answer, each.tries) for each in dead] == [
        ("accepted", "http_500", 1)
    ]
    assert (before.waiting, before.dead) == (0, 1)
    assert number == 1
    assert webhooks.dead(subscription_id) == []
    assert claim_one(webhooks, subscription_id).tries == 1


def test_what_stands_in_the_list_without_a_record_is_passed_over(
    client, stores, subscribe, webhooks
):
    subscription_id = subscribe()
    reset_id = stores.record()
    stores.attempt(reset_id)
    tag = keys.tag_of(reset_id)
    client.zadd(keys.webhooks_due(tag, subscription_id), {"gone:accepted": 0})

    webhook = webhooks.claim(subscription_id, tag)

    assert webhook.reset_id == reset_id
    assert client.zcard(keys.webhooks_due(tag, subscription_id)) == 1
