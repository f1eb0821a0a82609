"""A batch through the real processes: paused, resumed, its worker killed; nobody gets two."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
import requests

from shared.providers.outbox import read_outbox
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

NUMBER = 300
USERS = [f"guest-{number:03}" for number in range(NUMBER)]
SHORT = {
    "KEYTURN_LEASE_SECONDS": "10",
    "KEYTURN_PROVIDER_TIMEOUT_SECONDS": "3",
    "KEYTURN_DOUBT_SECONDS": "2",
}


def import_users(services) -> None:
    lines = [
        json.dumps(
            {
                "userId": user_id,
                "orgId": "demo",
                "email": f"{user_id}@example.com",
                "emailVerified": True,
            }
        )
        for user_id in USERS
    ]
    done = services.cli("user", "import", "-", given="\n".join(lines))
    assert done.returncode == 0, done.stderr


def call(services, path="", *, method="POST", **arguments) -> requests.Response:
    headers = {"Authorization": f"Bearer {services.token}"} | arguments.pop("headers", {})
    url = f"{services.url}/keyturn/v1/batches{path}"
    return requests.request(method, url, headers=headers, timeout=60, **arguments)


def show(services, batch_id: str) -> dict[str, object]:
    return call(services, f"/{batch_id}", method="GET").json()


def results(services, batch_id: str) -> list[dict[str, str]]:
    text = call(services, f"/{batch_id}/results", method="GET").text
    return [json.loads(line) for line in text.splitlines()]


def copies(services) -> Counter[str]:
    """How many messages each user of the batch got."""
    sent = read_outbox(services.data_dir, limit=1000)
    return Counter(entry["to"] for entry in sent)


def wait_for(services, batch_id: str, *, done: int) -> None:
    wait_until(lambda: len(copies(services)) >= done, what=f"{done} messages of {batch_id}")


def test_a_batch_survives_a_pause_a_kill_and_a_second_start(build_web_services):
    services = build_web_services(**SHORT)
    import_users(services)
    body = "\n".join([*USERS, "nobody", USERS[0]])
    wanted = {
        "params": {"ratePerSecond": 60, "reason": "a journey"},
        "headers": {"Content-Type": "text/plain", "Idempotency-Key": "once"},
        "data": body,
    }

    batch_id = call(services, **wanted).json()["batchId"]
    wait_for(services, batch_id, done=40)
    paused = call(services, f"/{batch_id}/_pause", json={"reason": "look first"}).json()
    time.sleep(2)
    at_pause = sum(copies(services).values())
    time.sleep(3)
    after_pause = sum(copies(services).values())
    again = call(services, **wanted).json()["batchId"]
    call(services, f"/{batch_id}/_resume", json={"reason": "go on"})
    wait_for(services, batch_id, done=after_pause + 60)
    services.kill("bulk")
    wait_until(lambda: show(services, batch_id)["state"] == "finished", what="the batch's end")

    told = show(services, batch_id)
    ended = results(services, batch_id)
    assert (paused["state"], again) == ("paused", batch_id)
    assert at_pause < NUMBER
    assert after_pause == at_pause
    assert (told["accepted"], told["failed"]) == (NUMBER, 0)
    assert told["skips"] == {"duplicate": 1, "unknown_user": 1}
    assert [each["status"] for each in ended] == ["accepted"] * NUMBER + ["skipped"] * 2
    assert len({each["resetId"] for each in ended[:NUMBER]}) == NUMBER
    assert_one_copy_unless_in_doubt(services, ended)


def assert_one_copy_unless_in_doubt(services, ended) -> None:
    """More than one message is what the killed worker left in doubt, and nothing else."""
    got = copies(services)
    assert set(got) == {f"{user_id}@example.com" for user_id in USERS}
    for result in ended[:NUMBER]:
        number = got[f"{result['userId']}@example.com"]
        if number > 1:
            url = f"{services.url}/keyturn/v1/resets/{result['resetId']}"
            headers = {"Authorization": f"Bearer {services.token}"}
            attempts = requests.get(url, headers=headers, timeout=60).json()["attempts"]
            doubts = [each for each in attempts if each["outcome"] == "doubt"]
            assert number <= 1 + len(doubts), result


def test_a_plan_counts_and_a_cancelled_batch_stops(build_web_services):
    services = build_web_services(**SHORT)
    import_users(services)

    planned = call(services, json={"userIds": [*USERS, "nobody"], "dryRun": True}).json()
    nothing = copies(services)
    call(services, json={"planId": planned["planId"], "ratePerSecond": 20})
    wait_for(services, planned["planId"], done=5)
    cancelled = services.cli("batch", "cancel", planned["planId"], "--reason", "stop", "--json")
    wait_until(lambda: show(services, planned["planId"])["queued"] == 0, what="nothing queued")
    at_cancel = sum(copies(services).values())
    time.sleep(2)

    assert (planned["plan"]["send"], planned["plan"]["skips"]) == (NUMBER, {"unknown_user": 1})
    assert nothing == {}
    assert json.loads(cancelled.stdout)["state"] == "cancelled"
    assert sum(copies(services).values()) == at_cancel < NUMBER
    states = Counter(each["status"] for each in results(services, planned["planId"]))
    assert set(states) <= {"accepted", "cancelled", "skipped"}
    assert call(services, f"/{planned['planId']}/_resume").status_code == 400
