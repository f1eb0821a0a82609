"""`keyturn webhook`, as an operator types it."""

from __future__ import annotations

import json
import subprocess

import pytest

from shared.store import keys
from shared.store.webhooks.deliveries import WebhookOutcome
from tests.support.builders import an_organisation, some_services
from tests.support.store_builders import stores_of
from tests.support.subscriber_stub import SubscriberStub

SECRET = "a secret key of more than thirty-two characters"
URL = "https://hooks.example.com/keyturn"

pytestmark = pytest.mark.real_server


@pytest.fixture
def services(real_client):
    services = some_services(real_client)
    an_organisation(services)
    return services


@pytest.fixture
def run(run_any):
    """Runs `keyturn webhook …`."""

    def run(*arguments: str, allow_private: bool = False) -> subprocess.CompletedProcess[str]:
        return run_any("webhook", *arguments, KEYTURN_WEBHOOK_ALLOW_PRIVATE=str(allow_private))

    return run


def printed(done: subprocess.CompletedProcess[str]):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_subscription_is_added_listed_and_removed(run, real_client):
    made = printed(run("add", "--org", "acme", "--url", URL, "--event", "reset.failed", "--json"))
    stores_of(real_client).record()

    listed = printed(run("list", "--org", "acme", "--json"))
    of_another = printed(run("list", "--org", "globex", "--json"))
    removed = printed(run("remove", made["subscriptionId"], "--json"))

    assert made["secret"].startswith("whsec_")
    assert [(each["url"], each["events"], each["state"]) for each in listed] == [
        (URL, ["reset.failed"], "active")
    ]
    assert made["secret"] not in json.dumps(listed)
    assert of_another == []
    assert removed["dropped"] == 0
    assert printed(run("list", "--json")) == []


def test_the_secret_is_all_that_goes_to_standard_output(run):
    done = run("add", "--org", "acme", "--url", URL)

    assert done.stdout.startswith("whsec_")
    assert len(done.stdout.split()) == 1
    assert "not shown again" in done.stderr


def test_dead_letters_are_listed_and_replayed(run, services, real_client):
    made = printed(run("add", "--org", "acme", "--url", URL, "--json"))
    stores = stores_of(real_client)
    reset_id = stores.record()
    stores.attempt(reset_id)
    webhook = services.webhooks.claim(made["subscriptionId"], keys.tag_of(reset_id))
    services.webhooks.finish(webhook, WebhookOutcome.DEAD, answer="http_500")

    dead = printed(run("dead", made["subscriptionId"], "--json"))
    waiting = printed(run("list", "--json"))[0]
    replayed = printed(run("replay", made["subscriptionId"], "--json"))

    assert [(each["resetId"], each["answer"]) for each in dead] == [(reset_id, "http_500")]
    assert (waiting["waiting"], waiting["dead"]) == (0, 1)
    assert replayed["replayed"] == 1
    assert printed(run("list", "--json"))[0]["waiting"] == 1


def test_a_test_call_is_made_at_once_and_signed(run):
    with SubscriberStub(204, 500) as subscriber:
        made = printed(
            run("add", "--org", "acme", "--url", subscriber.url, "--json", allow_private=True)
        )
        good = printed(run("test", made["subscriptionId"], "--json", allow_private=True))
        bad = run("test", made["subscriptionId"], allow_private=True)
        private = run("test", made["subscriptionId"])

        assert good["answer"] == "http_204"
        assert (bad.returncode, "http_500" in bad.stderr) == (1, True)
        assert (private.returncode, "connect_forbidden" in private.stderr) == (1, True)
        told = subscriber.verified(made["secret"])
        assert [each["type"] for each in told] == ["webhook.test", "webhook.test"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("add", "--org", "nobody", "--url", URL), 1, "doesn't exist"),
        (("add", "--org", "acme", "--url", "http://a.example/"), 1, "https"),
        (("add", "--org", "acme", "--url", "https://127.0.0.1/"), 1, "private"),
        (("add", "--org", "acme", "--url", URL, "--event", "reset.lost"), 1, "unknown event"),
        (("add", "--org", "acme"), 2, "--url"),
        (("remove", "hook_x"), 1, "no subscription with that id"),
        (("replay", "hook_x"), 1, "no subscription with that id"),
        (("dead", "hook_x"), 1, "no subscription with that id"),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, status, reason):
    done = run(*arguments)

    assert done.returncode == status
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
