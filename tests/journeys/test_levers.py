"""An operator pauses and resumes a running installation, and asks why meanwhile."""

from __future__ import annotations

import json

import pytest
import requests
from house import wait_until

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120)]

WHY = ("--reason", "a drill", "--by", "eve")


def ask(house):
    answer = requests.post(
        f"{house.url}/users/ada/password/_reset",
        headers={"Authorization": f"Bearer {house.token}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def explain(house, reset_id):
    done = house.cli("explain", "--reset", reset_id, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_paused_waits_says_why_and_goes_once_it_is_resumed(open_house):
    house = open_house(KEYTURN_USER_COOLDOWN_SECONDS="0")
    assert house.cli("pause", "organisation", "demo", *WHY).returncode == 0
    held_up = ask(house)

    wait_until(
        lambda: "paused by eve" in explain(house, held_up)["verdict"], seconds=15, what="a verdict"
    )
    assert "organisation demo has been paused by eve" in house.cli("status").stdout
    assert explain(house, held_up)["kind"] == "waiting"

    assert house.cli("resume", "organisation", "demo", "--rate", "10", *WHY).returncode == 0
    wait_until(
        lambda: explain(house, held_up)["kind"] == "accepted", seconds=20, what="its acceptance"
    )
    trail = json.loads(house.cli("audit", "--json").stdout)
    assert [(each["action"], each["by"]) for each in trail] == [
        ("organisation.resume", "eve"),
        ("organisation.pause", "eve"),
    ]
