"""A person leaves a running installation: no file of it holds anything of the person afterwards."""

from __future__ import annotations

import json
import time

import pytest
import requests

from faults.planted import Planted
from faults.search import Search
from shared.models import Channel, Recipient
from shared.settings import load_settings
from shared.wiring import build_services, connect_store
from tests.journeys.stack import Stack
from tests.support.fakes import FakeHints
from tests.support.subscriber_stub import SubscriberStub
from tests.support.waiting import SLACK_SECONDS, wait_until

LOGIN = ("operator", "a long password")
USER, NAME = "planted-user-7", "Planted Person"
ADDRESS, PHONE = "planted.person@planted.example", "+41795550123"
LINE = {"userId": USER, "orgId": "demo", "email": ADDRESS, "emailVerified": True,
        "phone": PHONE, "phoneVerified": True, "displayName": NAME}  # fmt: skip


@pytest.fixture
def keyturn(tmp_path):
    keyturn = Stack(
        tmp_path,
        KEYTURN_FLOWER_BASIC_AUTH=":".join(LOGIN),
        KEYTURN_WEBHOOK_ALLOW_PRIVATE="true",
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_SMS_COUNTRIES="CH",
    )
    keyturn.environ["FLOWER_STATE_SAVE_INTERVAL"] = "500"
    yield keyturn.start()
    keyturn.stop()


def post(keyturn, path, body, **headers):
    headers["Authorization"] = f"Bearer {keyturn.token}"
    answer = requests.post(keyturn.url + path, headers=headers, json=body, timeout=60)
    assert answer.ok, answer.text
    return answer


def live_through_a_day(keyturn, subscriber):
    """Mails, SMS, the forgot page, a changed password, webhooks that cannot be delivered."""
    added = keyturn.cli("webhook", "add", "--org", "demo", "--url", subscriber.url)
    assert added.returncode == 0, added.stderr
    assert keyturn.cli("user", "import", "-", given=json.dumps(LINE)).returncode == 0
    reset = f"/users/{USER}/password/_reset"
    post(keyturn, reset, {"type": "TYPE_EMAIL"}, **{"Idempotency-Key": "k1"})
    post(keyturn, reset, {"type": "TYPE_SMS"})
    for identifier in (ADDRESS, "079 555 01 23", NAME):
        post(keyturn, "/keyturn/v1/forgot", {"identifier": identifier})
    new = {"newPassword": {"password": "a Sentence of 5 words!"}}
    post(keyturn, f"/v2/users/{USER}/password", new)
    outbox = keyturn.data_dir / "outbox"
    wait_until(lambda: len(list(outbox.glob("*.json"))) >= 3, what="mail, SMS and notice")
    wait_until(lambda: len(subscriber.calls) >= 2, what="webhooks")
    flower = f"{keyturn.flower_url}/api/tasks"
    wait_until(
        lambda: "keyturn.send_sms" in requests.get(flower, auth=LOGIN, timeout=60).text,
        what="the tasks in Flower",
    )


def digests_of(keyturn):
    settings = load_settings(keyturn.environ)
    services = build_services(settings, client=connect_store(settings), hints=FakeHints())
    recipients = [Recipient(Channel.EMAIL, ADDRESS), Recipient(Channel.SMS, PHONE)]
    every = [services.digests.address_digest(each) for each in (ADDRESS, PHONE, NAME.lower(), USER)]
    every += [services.suppressions.digest(each) for each in recipients]
    return [*every, services.digests.user_place(USER)[1]]


def search(keyturn, digests):
    words = {each: each for each in (USER, NAME, *digests)}
    planted = Planted(domain="planted.example", numbers=[PHONE], codes=[], words=words)
    search = Search(planted)
    for path in keyturn.data_dir.rglob("*"):
        if path.is_file():
            search.look_in_file(path)
    return search


def forget(keyturn, user_id):
    flags = ("--with-audit", "--with-suppressions", "--reason", f"{NAME} asked")
    return keyturn.cli("forget", "--user", user_id, *flags)


def test_no_file_of_a_running_installation_holds_anything_of_a_person_who_left(keyturn):
    with SubscriberStub(500) as subscriber:
        live_through_a_day(keyturn, subscriber)
        digests = digests_of(keyturn)
        before = search(keyturn, digests)
        began = time.monotonic()
        unknown = forget(keyturn, "never-seen")
        start_seconds, began = time.monotonic() - began, time.monotonic()

        done = forget(keyturn, USER)

        assert (unknown.returncode, done.returncode) == (1, 0), done.stderr
        assert time.monotonic() - began - start_seconds < 5 + SLACK_SECONDS
        receipt = json.loads(done.stdout)
        assert receipt["serverFiles"] == "done"
        assert receipt["erased"]["webhooks"] > 0
        assert len({place for _, place in before.found}) >= 4
        time.sleep(1.5)  # Flower saves again, and the server deletes the former file
    after = search(keyturn, digests)
    assert any("flower" in place for place in after.looked_at)
    assert after.found == {}
    assert keyturn.cli("audit", "verify").returncode == 0
    assert forget(keyturn, USER).returncode == 1
    assert keyturn.events("delivery.failed") == []
