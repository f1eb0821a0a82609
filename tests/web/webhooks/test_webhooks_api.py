"""Subscriptions by the API: of one's own organisation, by those who may."""

from __future__ import annotations

import pytest

from shared.store import keys
from shared.store.webhooks.deliveries import WebhookOutcome
from tests.support.builders import a_token
from tests.support.store_builders import stores_of
from tests.support.wire import Wire, problem
from web.webhooks.service import MAX_OF_AN_ORGANISATION

URL = "https://hooks.example.com/keyturn"
HERE = "/keyturn/v1/webhooks"


class WebhookWire(Wire):
    """The wire, with its subscriptions."""

    def ask(self, method, path="", body=None, token=None, **headers):
        told = self.headers(token, **headers)
        return self.call(HERE + path, method=method, json=body, headers=told)

    def add(self, **fields):
        return self.ask("POST", body={"url": URL} | fields).get_json()["subscriptionId"]

    def a_dead_letter(self, subscription_id):
        stores = stores_of(self.redis)
        reset_id = stores.record()
        stores.attempt(reset_id)
        webhook = self.services.webhooks.claim(subscription_id, keys.tag_of(reset_id))
        self.services.webhooks.finish(webhook, WebhookOutcome.DEAD, answer="http_500")
        return reset_id


@pytest.fixture
def wire(client):
    return WebhookWire(client)


@pytest.mark.topology
def test_a_subscription_is_added_shown_and_removed(wire):
    added = wire.ask("POST", body={"url": URL, "events": ["reset.failed"]}).get_json()
    path = f"/{added['subscriptionId']}"

    shown = wire.ask("GET", path).get_json()
    listed = wire.ask("GET").get_json()["subscriptions"]
    removed = wire.ask("DELETE", path)

    assert added["secret"].startswith("whsec_")
    assert (shown["url"], shown["events"], shown["state"]) == (URL, ["reset.failed"], "active")
    assert listed == [shown]
    assert removed.get_json() == {"subscriptionId": added["subscriptionId"], "dropped": 0}
    assert problem(wire.ask("GET", path)) == (404, 5, None)


@pytest.mark.topology
def test_a_dead_letter_is_shown_and_replayed(wire):
    subscription_id = wire.add()
    reset_id = wire.a_dead_letter(subscription_id)

    dead = wire.ask("GET", f"/{subscription_id}/dead").get_json()["webhooks"]
    replayed = wire.ask("POST", f"/{subscription_id}/_replay").get_json()

    assert [(each["resetId"], each["type"], each["answer"]) for each in dead] == [
        (reset_id, "reset.accepted", "http_500")
    ]
    assert replayed["replayed"] == 1
    assert wire.ask("GET", f"/{subscription_id}").get_json()["waiting"] == 1


def test_one_that_is_gone_is_enabled_again(wire):
    subscription_id = wire.add()
    found = wire.services.subscriptions.find(subscription_id)
    wire.services.subscriptions.switch(found, disabled="gone")

    before = wire.ask("GET", f"/{subscription_id}").get_json()["state"]
    wire.ask("POST", f"/{subscription_id}/_enable")

    assert before == "gone"
    assert wire.services.subscriptions.find(subscription_id).disabled is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, (400, 3, None)),
        ({"url": URL, "events": ["reset.lost"]}, (400, 3, None)),
        ({"url": URL, "events": "reset.failed"}, (400, 3, None)),
        ({"url": "http://hooks.example.com/"}, (400, 3, "KEYTURN-SubscriberUrl")),
        ({"url": "https://127.0.0.1/"}, (400, 3, "KEYTURN-SubscriberUrl")),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(wire, body, told):
    assert problem(wire.ask("POST", body=body)) == told


def test_an_organisation_has_only_so_many(wire):
    for _ in range(MAX_OF_AN_ORGANISATION):
        wire.add()

    refused = wire.ask("POST", body={"url": URL})

    assert problem(refused) == (400, 9, "KEYTURN-TooManySubscriptions")


def test_another_organisation_s_is_not_there(wire):
    subscription_id = wire.add()
    stranger = a_token(wire.services, "ORG_OWNER", org_id="beta")

    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/dead"),
        ("POST", "/_replay"),
        ("POST", "/_enable"),
    ):
        refused = wire.ask(method, f"/{subscription_id}{path}", token=stranger)
        assert problem(refused) == (404, 5, None)
    assert wire.ask("GET", token=stranger).get_json() == {"subscriptions": []}


def test_who_may_only_look_changes_nothing(wire):
    subscription_id = wire.add()
    viewer = a_token(wire.services, "ORG_OWNER_VIEWER")

    refused = [
        problem(wire.ask(method, path, body={"url": URL}, token=viewer))
        for method, path in (
            ("POST", ""),
            ("DELETE", f"/{subscription_id}"),
            ("POST", f"/{subscription_id}/_replay"),
        )
    ]

    assert refused == [(403, 7, "AUTH-5mWD2")] * 3
    assert wire.ask("GET", token=viewer).status_code == 200


def test_the_trail_says_whose_token_it_was(wire):
    wire.add()

    entry = wire.services.audit.newest()[0]

    assert entry.act.action == "webhook.add"
    assert entry.act.by.startswith("token ")


@pytest.mark.topology
def test_a_subscription_tells_its_last_answers_and_why_it_fails(wire):
    subscription_id = wire.add()
    wire.a_dead_letter(subscription_id)

    told = wire.ask("GET", f"/{subscription_id}").get_json()

    (answer,) = told["answers"]
    assert (answer["type"], answer["outcome"]) == ("reset.accepted", "given up")
    assert (answer["tries"], answer["answer"]) == (1, "http_500")
    assert "(it answers with HTTP 500, try 1 of reset.accepted)" in told["sentence"]
    assert "1 given up" in told["sentence"]


def test_one_that_was_never_called_says_so(wire):
    told = wire.ask("GET", f"/{wire.add()}").get_json()

    assert (told["sentence"], told["answers"]) == ("was not called lately; 0 wait", [])
