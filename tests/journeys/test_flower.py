"""What an operator sees in Flower: every attempt a task, ids alone, nothing to press."""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from pathlib import Path

import pytest
import requests
from twilio.request_validator import RequestValidator

from shared.models import Queue
from tests.journeys.stack import Stack
from tests.support.subscriber_stub import SubscriberStub
from tests.support.waiting import wait_until

CHROMIUM = Path("/usr/bin/chromium")
LOGIN = ("operator", "a long password")
TWILIO_TOKEN = "the auth token of the test"
COLUMNS = ["Name", "args", "State", "Result", "Received", "Runtime", "Worker", "UUID"]


@pytest.fixture
def keyturn(tmp_path):
    keyturn = Stack(
        tmp_path,
        KEYTURN_FLOWER_BASIC_AUTH=":".join(LOGIN),
        KEYTURN_TWILIO_ACCOUNT_SID="AC1",
        KEYTURN_TWILIO_AUTH_TOKEN=TWILIO_TOKEN,
        KEYTURN_WEBHOOK_ALLOW_PRIVATE="true",
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_USER_LIMIT_PER_HOUR="0",
        KEYTURN_RETRY_DELAYS_SECONDS="0.2",
    )
    keyturn.environ["FLOWER_STATE_SAVE_INTERVAL"] = "2000"
    yield keyturn.start()
    keyturn.stop()


@pytest.fixture
def pictures(tmp_path):
    """Where the pictures go: KEYTURN_TEST_PICTURES to keep them."""
    kept = Path(os.environ.get("KEYTURN_TEST_PICTURES", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def tasks_of(keyturn) -> dict[str, dict]:
    try:
        answer = requests.get(f"{keyturn.flower_url}/api/tasks", auth=LOGIN, timeout=60)
    except requests.ConnectionError:  # it starts again just now
        return {}
    return answer.json() if answer.status_code == 200 else {}


def names_of(keyturn) -> list[str]:
    return [task["name"] for task in tasks_of(keyturn).values()]


def ask(keyturn, user_id, kind="TYPE_EMAIL") -> str:
    answer = requests.post(
        f"{keyturn.url}/users/{user_id}/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        json={"type": kind},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def add_user(keyturn, email) -> str:
    user = {"userId": f"u-{uuid.uuid4().hex[:8]}", "orgId": "demo", "email": email,
            "emailVerified": True, "phone": "+15005550005", "phoneVerified": True}  # fmt: skip
    done = keyturn.cli("user", "import", "-", given=json.dumps(user))
    assert done.returncode == 0, done.stderr
    return user["userId"]


def call_back(keyturn, reset_id):
    url = f"{keyturn.url}/callbacks/twilio?resetId={reset_id}"
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "AccountSid": "AC1"}
    signed = RequestValidator(TWILIO_TOKEN).compute_signature(url, form)
    answer = requests.post(url, data=form, headers={"X-Twilio-Signature": signed}, timeout=60)
    assert answer.status_code == 204, answer.text


def live_through_a_day(keyturn, subscriber) -> list[str]:
    """Mails, an SMS, retries, a receipt, webhooks; the ids of the resets."""
    done = keyturn.cli("webhook", "add", "--org", "demo", "--url", subscriber.url, "--json")
    assert done.returncode == 0, done.stderr
    plain = add_user(keyturn, "delivered@example.com")
    stubborn = add_user(keyturn, f"fails-twice+{uuid.uuid4().hex}@example.com")
    resets = [ask(keyturn, plain), ask(keyturn, plain, "TYPE_SMS"), ask(keyturn, stubborn)]
    call_back(keyturn, resets[1])
    wait_until(
        lambda: (
            {"keyturn.apply_receipts", "keyturn.send_webhook", "keyturn.send_sms"}
            <= set(names_of(keyturn))
            and attempts_at(keyturn, resets[2]) >= 3
            and ("FAILURE", "SubscriberRefusedError('http_500')") in ends_of_webhooks(keyturn)
        ),
        what=f"the tasks in Flower; there are {names_of(keyturn)}",
    )
    return resets


def ends_of_webhooks(keyturn) -> list[tuple[str, str]]:
    """How the turns at subscribers ended: one that took nothing is no success."""
    tasks = tasks_of(keyturn).values()
    return [(t["state"], t["exception"]) for t in tasks if t["name"] == "keyturn.send_webhook"]


def attempts_at(keyturn, reset_id) -> int:
    return sum(reset_id in str(task["args"]) for task in tasks_of(keyturn).values())


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed")
def test_an_operator_reads_the_day_in_flower_and_it_outlives_flower(keyturn, pictures):
    from playwright.sync_api import sync_playwright

    with SubscriberStub(500, 204) as subscriber, sync_playwright() as playwright:
        resets = live_through_a_day(keyturn, subscriber)
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_context(
            viewport={"width": 1600, "height": 900},
            http_credentials={"username": LOGIN[0], "password": LOGIN[1]},
        ).new_page()

        told = look_at_tasks(tab, keyturn, pictures, resets)
        look_at_a_task(tab, keyturn, pictures, resets[0])
        look_at_workers(tab, keyturn, pictures)
        browser.close()

    forbidden = ("@example.com", "5005550005", keyturn.token, *codes_of(keyturn))
    everything = told + json.dumps(tasks_of(keyturn))
    assert [secret for secret in forbidden if secret in everything] == []
    assert_it_survives(keyturn, resets, signal.SIGKILL)
    assert_it_survives(keyturn, resets, signal.SIGTERM)


def look_at_tasks(tab, keyturn, pictures, resets) -> str:
    tab.goto(f"{keyturn.flower_url}/tasks")
    tab.get_by_text("keyturn.send_sms").first.wait_for()
    tab.screenshot(path=pictures / "flower-tasks.png")
    tab.locator("select[name='tasks-table_length']").select_option("100")
    tab.get_by_text(resets[0]).first.wait_for()
    heads = [head for head in tab.locator("#tasks-table th").all_inner_texts() if head]
    assert [re.sub(r"\s+", " ", head).strip().lower() for head in heads] == [
        column.lower() for column in COLUMNS
    ]
    rows = [row.split("\t") for row in tab.locator("#tasks-table tbody tr").all_inner_texts()]
    by_id = {row[1].strip(): (row[0].strip(), row[3].strip()) for row in rows}
    assert by_id[resets[0]] == ("keyturn.send_email", "accepted")
    assert by_id[resets[1]][0] == "keyturn.send_sms"
    link = tab.get_by_role("link", name=resets[0])
    assert link.get_attribute("href") == f"{keyturn.url}/console/resets/{resets[0]}"
    ids = re.compile(r"hook_[0-9a-f]{12}|[0-9a-f][a-z2-7]{26}|[0-9]{1,2}")
    assert [shown for shown in by_id if not ids.fullmatch(shown)] == []
    return tab.content()


def look_at_a_task(tab, keyturn, pictures, reset_id):
    uid = next(u for u, task in tasks_of(keyturn).items() if reset_id in str(task["args"]))
    tab.goto(f"{keyturn.flower_url}/task/{uid}")
    tab.get_by_text(reset_id).first.wait_for()
    tab.screenshot(path=pictures / "flower-task.png")
    assert (
        tab.get_by_role("button", name=re.compile("revoke|terminate", re.IGNORECASE)).count() == 0
    )


def look_at_workers(tab, keyturn, pictures):
    tab.goto(f"{keyturn.flower_url}/workers")
    tab.get_by_text(re.compile(r"^urgent-\d+@")).first.wait_for()
    tab.screenshot(path=pictures / "flower-workers.png")
    assert tab.get_by_text(re.compile(r"^bulk-\d+@")).count() >= 1


def codes_of(keyturn) -> list[str]:
    inbox = requests.get(f"{keyturn.url}/dev/inbox.json", timeout=60).text
    codes = set(re.findall(r"code=(\w{8})", inbox))
    assert codes
    return [*codes, *(f"{code[:4]}-{code[4:]}" for code in codes)]


def assert_it_survives(keyturn, resets, signal_number):
    if signal_number == signal.SIGKILL:  # what it wrote last is what it has then
        database = keyturn.data_dir / f"flower-{keyturn.flower_url.rpartition(':')[2]}"
        before = len(tasks_of(keyturn))
        wait_until(lambda: any(database.parent.glob(f"{database.name}*")), what="a first save")
        assert before
        wait_until(
            lambda: all(
                any(r.encode() in f.read_bytes() for f in database.parent.glob("flower-*"))
                for r in resets
            ),
            what="the resets in what was saved",
        )
    was = keyturn.pid_of("flower")
    os.kill(was, signal_number)
    wait_until(lambda: keyturn.pid_of("flower") != was, what="a new Flower")
    wait_until(
        lambda: all(attempts_at(keyturn, reset_id) for reset_id in resets),
        what=f"the tasks after {signal_number.name}",
    )


def test_up_makes_a_login_once_and_says_where_it_is(tmp_path):
    keyturn = Stack(tmp_path).start()
    try:
        path = keyturn.data_dir / "flower_login"
        login = path.read_text().strip()
        assert path.stat().st_mode & 0o777 == 0o600
        assert f"{keyturn.flower_url}/\n               its login: {path}\n" in keyturn.log()
        url = f"{keyturn.flower_url}/api/tasks"
        asked = {
            name: requests.get(url, auth=tuple(given.split(":")), headers=headers, timeout=60)
            for name, given, headers in (
                ("right", login, {}),
                ("wrong", "operator:wrong", {}),
                ("rebound", login, {"Host": "evil.example"}),
            )
        }
        assert {name: answer.status_code for name, answer in asked.items()} == {
            "right": 200, "wrong": 401, "rebound": 403,
        }  # fmt: skip
        keyturn.stop()
        keyturn.start()
        assert path.read_text().strip() == login
        assert login not in keyturn.log()
    finally:
        keyturn.stop()


def test_the_broker_page_has_all_queues_at_once(keyturn):
    page = requests.get(f"{keyturn.flower_url}/broker", auth=LOGIN, timeout=60).text

    assert [queue for queue in Queue if queue.value not in page] == []


def test_flower_asks_for_the_login_and_changes_nothing(keyturn):
    ask(keyturn, "ada")
    wait_until(lambda: names_of(keyturn), what="a task in Flower")
    worker = f"urgent-{keyturn.pid_of('worker')}@x"

    def status(method, path, auth=None):
        return requests.request(method, keyturn.flower_url + path, auth=auth, timeout=60)

    assert status("GET", "/tasks").status_code == 401
    assert status("GET", "/api/tasks").status_code == 401
    assert status("GET", "/api/tasks", ("operator", "wrong password")).status_code == 401
    assert "Access-Control-Allow-Origin" not in status("GET", "/api/tasks", LOGIN).headers
    for path in (
        f"/api/worker/shutdown/{worker}",
        f"/api/worker/pool/grow/{worker}",
        "/api/task/async-apply/keyturn.send_email",
        "/api/task/revoke/x",
    ):
        refused = status("POST", path, LOGIN)
        assert refused.status_code == 403, (path, refused.status_code, refused.text)
