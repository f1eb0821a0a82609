"""A reset from the call to a changed password, by HTTP alone, over the real processes."""

from __future__ import annotations

import html
import json
import re
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

NEW_PASSWORD = "Rather-Long-2-Guess"


def add_user(keyturn, **fields) -> str:
    user_id = f"user-{uuid.uuid4().hex[:10]}"
    line = {
        "userId": user_id,
        "orgId": "demo",
        "displayName": "Grace",
        "email": f"{user_id}@example.com",
        "emailVerified": True,
        "phone": "+41791234567",
        "phoneVerified": True,
        "password": "Before-1-Reset",
        **fields,
    }
    done = keyturn.cli("user", "import", "-", given=json.dumps(line))
    assert done.returncode == 0, done.stderr
    return user_id


def call(keyturn, user_id: str, body: dict[str, object]) -> requests.Response:
    return requests.post(
        f"{keyturn.url}/management/v1/users/{user_id}/password/_reset",
        json=body,
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )


def read_inbox(keyturn, reset_id: str) -> list[dict[str, object]]:
    entries = requests.get(f"{keyturn.url}/dev/inbox.json", timeout=60).json()
    entries = entries["messages"] if isinstance(entries, dict) else entries
    return [entry for entry in entries if entry["resetId"] == reset_id]


def wait_for_message(keyturn, reset_id: str) -> dict[str, object]:
    wait_until(lambda: read_inbox(keyturn, reset_id), what="a message in the inbox")
    return read_inbox(keyturn, reset_id)[0]


def fields_of(page: str) -> dict[str, str]:
    inputs = re.findall(r"<input\b[^>]*>", page)
    pairs = [(re.search(r'name="([^"]*)"', i), re.search(r'value="([^"]*)"', i)) for i in inputs]
    return {name[1]: html.unescape(value[1]) if value else "" for name, value in pairs if name}


def choose_password(link: str, password: str) -> requests.Response:
    form = fields_of(requests.get(link, timeout=60).text)
    base = f"{urlsplit(link).scheme}://{urlsplit(link).netloc}"
    return requests.post(
        f"{base}/ui/password/reset",
        data={**form, "password": password, "passwordConfirm": password},
        timeout=60,
    )


def show(keyturn, reset_id: str) -> dict[str, object]:
    return requests.get(
        f"{keyturn.url}/keyturn/v1/resets/{reset_id}",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    ).json()


def test_an_email_reset_changes_the_password(keyturn):
    user_id = add_user(keyturn)

    answer = call(keyturn, user_id, {"type": "TYPE_EMAIL"})

    assert answer.status_code == 200
    reset_id = answer.headers["Keyturn-Reset-Id"]
    mail = wait_for_message(keyturn, reset_id)
    link = re.search(r"http://\S+/ui/password/reset\?\S+", mail["text"])[0]
    assert parse_qs(urlsplit(link).query)["userID"] == [user_id]
    assert html.escape(link) in mail["html"]
    done = choose_password(link, NEW_PASSWORD)
    assert done.status_code == 200
    shown = show(keyturn, reset_id)
    assert shown["status"] == "accepted"
    assert shown["completedAt"] is not None
    assert shown["recipient"] == "u***@example.com"


def test_a_used_code_is_used_up(keyturn):
    user_id = add_user(keyturn)
    reset_id = call(keyturn, user_id, {}).headers["Keyturn-Reset-Id"]
    mail = wait_for_message(keyturn, reset_id)
    link = re.search(r"http://\S+/ui/password/reset\?\S+", mail["text"])[0]
    choose_password(link, NEW_PASSWORD)

    again = choose_password(link, "Another-Good-1")

    assert again.status_code == 410


def test_an_sms_reset_changes_the_password_by_its_short_link(keyturn):
    user_id = add_user(keyturn)

    answer = call(keyturn, user_id, {"type": "TYPE_SMS"})

    sms = wait_for_message(keyturn, answer.headers["Keyturn-Reset-Id"])
    assert (sms["segments"], sms["encoding"]) == (1, "GSM-7")
    assert sms["validitySeconds"] <= 600
    link = re.search(r"http://\S+/r/\S+", sms["body"])[0]
    assert choose_password(link, NEW_PASSWORD).status_code == 200


def test_a_changed_password_is_told_by_mail(keyturn):
    user_id = add_user(keyturn)
    reset_id = call(keyturn, user_id, {}).headers["Keyturn-Reset-Id"]
    mail = wait_for_message(keyturn, reset_id)
    link = re.search(r"http://\S+/ui/password/reset\?\S+", mail["text"])[0]

    choose_password(link, NEW_PASSWORD)

    def notices():
        entries = requests.get(f"{keyturn.url}/dev/inbox.json", timeout=60).json()
        entries = entries["messages"] if isinstance(entries, dict) else entries
        mine = [entry for entry in entries if entry["to"] == f"{user_id}@example.com"]
        return [entry for entry in mine if entry["resetId"] != reset_id]

    wait_until(notices, what="the notice")
    assert "code=" not in notices()[0]["text"]


def test_the_status_of_a_refused_mail_says_why(keyturn):
    user_id = add_user(keyturn, email=f"bounces+{uuid.uuid4().hex}@example.com")
    reset_id = call(keyturn, user_id, {}).headers["Keyturn-Reset-Id"]

    wait_until(lambda: show(keyturn, reset_id)["status"] == "failed", what="failed")

    assert show(keyturn, reset_id)["attempts"][0]["outcome"] == "permanent"
    again = call(keyturn, user_id, {})
    assert again.status_code == 400
    assert again.json()["details"][0]["id"] == "KEYTURN-Suppressed"
    told = json.loads(keyturn.cli("explain", "--reset", reset_id, "--json").stdout)
    assert told["verdict"].startswith("It failed for good")


def test_a_provider_that_fails_twice_is_tried_a_third_time(keyturn):
    user_id = add_user(keyturn, email=f"fails-twice+{uuid.uuid4().hex}@example.com")
    reset_id = call(keyturn, user_id, {}).headers["Keyturn-Reset-Id"]

    wait_until(lambda: show(keyturn, reset_id)["status"] == "accepted", what="accepted")

    outcomes = [attempt["outcome"] for attempt in show(keyturn, reset_id)["attempts"]]
    assert outcomes == ["transient", "transient", "accepted"]


def test_no_secret_stands_in_the_logs_or_in_flower(keyturn):
    user_id = add_user(keyturn)
    answer = call(keyturn, user_id, {})
    mail = wait_for_message(keyturn, answer.headers["Keyturn-Reset-Id"])
    code = re.search(r"code=(\w+)", mail["text"])[1]

    def read_flower() -> str:
        login = tuple((keyturn.data_dir / "flower_login").read_text().strip().split(":"))
        return requests.get(f"{keyturn.flower_url}/api/tasks", auth=login, timeout=60).text

    reset_id = answer.headers["Keyturn-Reset-Id"]
    wait_until(lambda: reset_id in read_flower(), what="the task in Flower")
    flower = read_flower()
    spelled = f"{code[:4]}-{code[4:]}"
    # The curl line to paste is for the person at the terminal, and holds the demo's token.
    log = "\n".join(line for line in keyturn.log().splitlines() if "curl" not in line)
    for secret in (code, spelled, f"{user_id}@example.com", keyturn.token):
        assert secret not in log
        assert secret not in flower


def test_the_request_id_is_in_the_lines_of_web_and_worker(keyturn):
    user_id = add_user(keyturn)

    answer = call(keyturn, user_id, {})

    request_id = answer.headers["X-Request-Id"]
    wait_until(
        lambda: [e for e in keyturn.events("attempt.accepted") if e["request_id"] == request_id],
        what="the worker's line",
    )
    assert [e for e in keyturn.events("reset.requested") if e["request_id"] == request_id]
