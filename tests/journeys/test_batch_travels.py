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


def import_users(keyturn) -> None:
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
    done = keyturn.cli("user", "import", "-", given="\n".join(lines))
    assert done.returncode == 0, done.stderr


def call(keyturn, path="", *, method="POST", **arguments) -> requests.Response:
    headers = {"Authorization": f"Bearer {keyturn.token}"} | arguments.pop("headers", {})
    url = f"{keyturn.url}/keyturn/v1/batches{path}"
    return requests.request(method, url, headers=headers, timeout=60, **arguments)


def show(keyturn, batch_id: str) -> dict[str, object]:
    return call(keyturn, f"/{batch_id}", method="GET").json()


def results(keyturn, batch_id: str) -> list[dict[str, str]]:
    text = call(keyturn, f"/{batch_id}/results", method="GET").text
    return [json.loads(line) for line in text.splitlines()]


def copies(keyturn) -> Counter[str]:
    """How many messages each user of the batch got."""
    sent = read_outbox(keyturn.data_dir, limit=1000)
    return Counter(entry["to"] for entry in sent)


def wait_for(keyturn, batch_id: str, *, done: int) -> None:
    wait_until(lambda: len(copies(keyturn)) >= done, what=f"{done} messages of {batch_id}")


def test_a_batch_survives_a_pause_a_kill_and_a_second_start(start_keyturn):
    keyturn = start_keyturn(**SHORT)
    import_users(keyturn)
    body = "\n".join([*USERS, "nobody", USERS[0]])
    wanted = {
        "params": {"ratePerSecond": 60, "reason": "a journey"},
        "headers": {"Content-Type": "text/plain", "Idempotency-Key": "once"},
        "data": body,
    }

    batch_id = call(keyturn, **wanted).json()["batchId"]
    wait_for(keyturn, batch_id, done=40)
    paused = call(keyturn, f"/{batch_id}/_pause", json={"reason": "look first"}).json()
    time.sleep(2)
    at_pause = sum(copies(keyturn).values())
    time.sleep(3)
    after_pause = sum(copies(keyturn).values())
    again = call(keyturn, **wanted).json()["batchId"]
    call(keyturn, f"/{batch_id}/_resume", json={"reason": "go on"})
    wait_for(keyturn, batch_id, done=after_pause + 60)
    keyturn.kill("bulk")
    wait_until(lambda: show(keyturn, batch_id)["state"] == "finished", what="the batch's end")

    told = show(keyturn, batch_id)
    ended = results(keyturn, batch_id)
    assert (paused["state"], again) == ("paused", batch_id)
    assert at_pause < NUMBER
    assert after_pause == at_pause
    assert (told["accepted"], told["failed"]) == (NUMBER, 0)
    assert told["skips"] == {"duplicate": 1, "unknown_user": 1}
    assert [each["status"] for each in ended] == ["accepted"] * NUMBER + ["skipped"] * 2
    assert len({each["resetId"] for each in ended[:NUMBER]}) == NUMBER
    assert_one_copy_unless_in_doubt(keyturn, ended)


def assert_one_copy_unless_in_doubt(keyturn, ended) -> None:
    """More than one message is what the killed worker left in doubt, and nothing else."""
    got = copies(keyturn)
    assert set(got) == {f"{user_id}@example.com" for user_id in USERS}
    for result in ended[:NUMBER]:
        number = got[f"{result['userId']}@example.com"]
        if number > 1:
            url = f"{keyturn.url}/keyturn/v1/resets/{result['resetId']}"
            headers = {"Authorization": f"Bearer {keyturn.token}"}
            attempts = requests.get(url, headers=headers, timeout=60).json()["attempts"]
            doubts = [each for each in attempts if each["outcome"] == "doubt"]
            assert number <= 1 + len(doubts), result


def test_a_plan_counts_and_a_cancelled_batch_stops(start_keyturn):
    keyturn = start_keyturn(**SHORT)
    import_users(keyturn)

    planned = call(keyturn, json={"userIds": [*USERS, "nobody"], "dryRun": True}).json()
    nothing = copies(keyturn)
    call(keyturn, json={"planId": planned["planId"], "ratePerSecond": 20})
    wait_for(keyturn, planned["planId"], done=5)
    cancelled = keyturn.cli("batch", "cancel", planned["planId"], "--reason", "stop", "--json")
    wait_until(lambda: show(keyturn, planned["planId"])["queued"] == 0, what="nothing queued")
    at_cancel = sum(copies(keyturn).values())
    time.sleep(2)

    assert (planned["plan"]["send"], planned["plan"]["skips"]) == (NUMBER, {"unknown_user": 1})
    assert nothing == {}
    assert json.loads(cancelled.stdout)["state"] == "cancelled"
    assert sum(copies(keyturn).values()) == at_cancel < NUMBER
    states = Counter(each["status"] for each in results(keyturn, planned["planId"]))
    assert set(states) <= {"accepted", "cancelled", "skipped"}
    assert call(keyturn, f"/{planned['planId']}/_resume").status_code == 400
