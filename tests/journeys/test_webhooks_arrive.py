"""A subscriber of a whole Keyturn hears everything, whoever is killed meanwhile."""

from __future__ import annotations

import json

import pytest
import requests

from tests.journeys.stack import Stack
from tests.support.subscriber_stub import SubscriberStub
from tests.support.waiting import wait_until

NUMBER = 60


@pytest.fixture
def keyturn(tmp_path):
    keyturn = Stack(
        tmp_path,
        KEYTURN_WEBHOOK_ALLOW_PRIVATE="true",
        KEYTURN_WEBHOOK_DELAYS_SECONDS="0.5,0.5,0.5,0.5,1,1,1,1,1,1",
        KEYTURN_LEASE_SECONDS="10",
        KEYTURN_PROVIDER_TIMEOUT_SECONDS="3",
        KEYTURN_DOUBT_SECONDS="2",
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_USER_LIMIT_PER_HOUR="0",
        KEYTURN_USER_LIMIT_PER_DAY="0",
    )
    yield keyturn.start()
    keyturn.stop()


def import_users(keyturn):
    lines = [
        json.dumps(
            {
                "userId": f"user-{number}",
                "orgId": "demo",
                "email": f"{'refused' if number % 10 == 0 else 'delivered'}@u{number}.example.com",
                "emailVerified": True,
            }
        )
        for number in range(NUMBER)
    ]
    done = keyturn.cli("user", "import", "-", given="\n".join(lines))
    assert done.returncode == 0, done.stderr


def ask(keyturn, number):
    answer = requests.post(
        f"{keyturn.url}/users/user-{number}/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def ends_in(calls):
    """Reset → what was told of its end, each webhook once."""
    # A report alone ends what a killed worker had handed over.
    ends = ("reset.accepted", "reset.delivered", "reset.failed")
    bodies = {headers["webhook-id"]: json.loads(body) for headers, body in calls}
    return {
        body["data"]["resetId"]: body["type"] for body in bodies.values() if body["type"] in ends
    }


def test_every_reset_is_told_though_subscriber_and_workers_fail(keyturn):
    with SubscriberStub(*([500, 204, 204] * 20), 204) as subscriber:
        added = keyturn.cli("webhook", "add", "--org", "demo", "--url", subscriber.url, "--json")
        secret = json.loads(added.stdout)["secret"]
        import_users(keyturn)

        asked = {}
        for number in range(NUMBER):
            asked[ask(keyturn, number)] = number
            if number in {20, 40}:
                keyturn.kill("bulk" if number == 20 else "worker")
        told = len(subscriber.calls)
        wait_until(lambda: len(subscriber.calls) > told, what="telling goes on")
        keyturn.kill("bulk")  # while it tells

        wait_until(
            lambda: set(asked) <= set(ends_in(subscriber.calls)),
            what=f"told of all {NUMBER}; so far {len(ends_in(subscriber.calls))}",
        )
        ends = ends_in(subscriber.calls)
        assert {each for each, end in ends.items() if end == "reset.failed"} == {
            reset_id for reset_id, number in asked.items() if number % 10 == 0
        }
        assert len(subscriber.verified(secret)) >= NUMBER
        assert "example.com" not in str(subscriber.calls)
    assert "example.com/hook" not in keyturn.log()
