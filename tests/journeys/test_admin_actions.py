"""An operator pauses and resumes a running installation, and asks why meanwhile."""

from __future__ import annotations

import json

import pytest
import requests

from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

WHY = ("--reason", "a drill", "--by", "eve")


def ask(keyturn):
    answer = requests.post(
        f"{keyturn.url}/users/ada/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def explain(keyturn, reset_id):
    done = keyturn.cli("explain", "--reset", reset_id, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_paused_waits_says_why_and_goes_once_it_is_resumed(start_keyturn):
    keyturn = start_keyturn(KEYTURN_USER_COOLDOWN_SECONDS="0")
    assert keyturn.cli("pause", "organisation", "demo", *WHY).returncode == 0
    held_up = ask(keyturn)

    wait_until(
        lambda: "paused by eve" in explain(keyturn, held_up)["verdict"],
        what="a verdict",
    )
    assert "organisation demo has been paused by eve" in keyturn.cli("status").stdout
    assert explain(keyturn, held_up)["kind"] == "waiting"

    assert keyturn.cli("resume", "organisation", "demo", "--rate", "10", *WHY).returncode == 0
    wait_until(lambda: explain(keyturn, held_up)["kind"] == "accepted", what="its acceptance")
    trail = json.loads(keyturn.cli("audit", "--json").stdout)
    assert [(each["action"], each["by"]) for each in trail][:2] == [
        ("organisation.resume", "eve"),
        ("organisation.pause", "eve"),
    ]
    assert {each["outcome"] for each in trail} == {"done"}
    assert keyturn.cli("audit", "verify").returncode == 0
