"""Signed callbacks reach real processes: delivered, bounced, doubt settled; shuffled and twice."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
import requests

from tests.journeys.stack import free_ports
from tests.support.callback_builders import TWILIO_SID, TWILIO_TOKEN, SendGridKey
from tests.support.callback_poster import CallbackPoster
from tests.support.provider_stub import ProviderStub
from tests.support.provider_stub_answers import Answer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

PEOPLE = 12
PUBLIC_URL = "https://reset.example.com"
DOUBT_SECONDS = 4
KEY = SendGridKey()


@pytest.fixture
def stub():
    with ProviderStub(port=free_ports(1)[0]) as running:
        yield running


@pytest.fixture
def settling(start_keyturn, stub):
    opened = start_keyturn(
        KEYTURN_EMAIL_PROVIDERS="sendgrid",
        KEYTURN_SENDGRID_API_KEY="SG.test",
        KEYTURN_SENDGRID_API_URL=stub.url,
        KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY=KEY.public,
        KEYTURN_SMS_PROVIDERS="twilio",
        KEYTURN_TWILIO_ACCOUNT_SID=TWILIO_SID,
        KEYTURN_TWILIO_AUTH_TOKEN=TWILIO_TOKEN,
        KEYTURN_TWILIO_FROM="+41790000000",
        KEYTURN_TWILIO_API_URL=stub.url,
        KEYTURN_PUBLIC_URL=PUBLIC_URL,
        KEYTURN_PROVIDER_TIMEOUT_SECONDS="3",
        KEYTURN_LEASE_SECONDS="10",
        KEYTURN_DOUBT_SECONDS=str(DOUBT_SECONDS),
        KEYTURN_USER_COOLDOWN_SECONDS="0",
    )
    people = [
        {
            "userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com",
            "emailVerified": True, "phone": f"+4179123450{n % 10}", "phoneVerified": True,
        }
        for n in range(PEOPLE)
    ]  # fmt: skip
    done = opened.cli("user", "import", "-", given="\n".join(map(json.dumps, people)))
    assert done.returncode == 0, done.stderr
    return opened


@pytest.fixture
def poster(settling):
    return CallbackPoster(settling.url, public_url=PUBLIC_URL, key=KEY)


def ask(keyturn, number, kind="TYPE_EMAIL"):
    answer = requests.post(
        f"{keyturn.url}/users/u{number}/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        json={"type": kind},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Keyturn-Reset-Id"]


def show(keyturn, reset_id):
    answer = requests.get(
        f"{keyturn.url}/keyturn/v1/resets/{reset_id}",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    return answer.json()


def wait_for(keyturn, reset_id, status):
    wait_until(
        lambda: show(keyturn, reset_id)["status"] == status,
        what=f"{status}; it is {show(keyturn, reset_id)}",
    )


def taken(stub, reset_id):
    return [entry for entry in stub.taken if entry["resetId"] == reset_id]


def wait_taken(stub, number):
    wait_until(lambda: len(stub.taken) >= number, what=f"{number} messages taken")


def test_shuffled_and_repeated_events_bring_every_mail_to_its_end(settling, stub, poster):
    ids = [ask(settling, number) for number in range(PEOPLE)]
    wait_taken(stub, PEOPLE)
    events = []
    for number, reset_id in enumerate(ids):
        (entry,) = taken(stub, reset_id)
        end = ("bounce", {"type": "bounce"}) if number % 3 == 0 else ("delivered", {})
        events += poster.mail_events(entry, "processed", "deferred")
        events += poster.mail_events(entry, end[0], **end[1])

    answers = poster.post_mail(events, times=3, shuffled=True, size=10)

    assert set(answers) == {204}
    for number, reset_id in enumerate(ids):
        wait_for(settling, reset_id, "undelivered" if number % 3 == 0 else "delivered")
        kinds = Counter(event["type"] for event in show(settling, reset_id)["events"])
        assert max(kinds.values()) == 1
    listed = json.loads(settling.cli("suppression", "list", "--json").stdout)
    assert [each["reason"] for each in listed] == ["bounce"] * 4
    told = json.loads(settling.cli("explain", "--reset", ids[0], "--json").stdout)
    assert "bounced" in told["verdict"]
    text = requests.get(f"{settling.url}/metrics", timeout=60).text
    assert 'keyturn_callbacks_total{outcome="received",provider="sendgrid"} 36.0' in text
    assert 'keyturn_callbacks_total{outcome="repeated",provider="sendgrid"} 72.0' in text
    assert 'keyturn_delivered_seconds_count{channel="email",provider="sendgrid"} 8.0' in text


def test_a_callback_settles_a_doubt_before_a_second_copy_goes_out(settling, stub, poster):
    stub.answers(Answer(takes=True, how="cut"))
    reset_id = ask(settling, 0)
    wait_for(settling, reset_id, "unknown")

    poster.post_mail(poster.mail_events(taken(stub, reset_id)[0], "processed"))
    wait_for(settling, reset_id, "accepted")
    time.sleep(DOUBT_SECONDS + 2)

    shown = show(settling, reset_id)
    assert len(taken(stub, reset_id)) == 1
    assert [each["outcome"] for each in shown["attempts"]] == ["found"]
    assert shown["status"] == "accepted"


def test_an_sms_is_followed_to_the_handset(settling, stub, poster):
    good, bad = ask(settling, 1, "TYPE_SMS"), ask(settling, 2, "TYPE_SMS")
    wait_taken(stub, 2)

    answers = poster.post_sms(taken(stub, good)[0], "delivered", "sent", "sending", "delivered")
    answers += poster.post_sms(taken(stub, bad)[0], "sent", "undelivered", ErrorCode="30006")

    assert set(answers) == {204}
    wait_for(settling, good, "delivered")
    wait_for(settling, bad, "undelivered")
    again = requests.post(
        f"{settling.url}/users/u2/password/_reset",
        headers={"Authorization": f"Bearer {settling.token}"},
        json={"type": "TYPE_SMS"},
        timeout=60,
    )
    assert again.json()["details"][0]["id"] == "KEYTURN-Suppressed"


def test_what_was_told_survives_workers_that_are_away(settling, stub, poster):
    ids = [ask(settling, number) for number in range(4)]
    wait_taken(stub, 4)
    events = [
        event
        for reset_id in ids
        for event in poster.mail_events(taken(stub, reset_id)[0], "delivered")
    ]

    settling.kill("worker")
    assert set(poster.post_mail(events)) == {204}

    for reset_id in ids:
        wait_for(settling, reset_id, "delivered")


def test_what_nobody_signed_changes_nothing(settling, stub):
    reset_id = ask(settling, 3)
    wait_for(settling, reset_id, "accepted")
    forger = CallbackPoster(settling.url, public_url="https://evil.example", key=SendGridKey())
    (entry,) = taken(stub, reset_id)

    answers = forger.post_mail(forger.mail_events(entry, "bounce", type="bounce"))
    answers += forger.post_sms(entry, "undelivered")

    assert set(answers) == {403}
    assert show(settling, reset_id)["status"] == "accepted"
    assert len(settling.events("callback.refused")) == 2
