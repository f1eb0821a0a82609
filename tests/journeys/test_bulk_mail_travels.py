"""A batch through real processes: one call for many, and a kill -9 in the middle of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from shared.models import Channel, Queue, Status
from shared.policies import last_start_seconds
from shared.settings import load_settings
from shared.store.resets import NewReset
from shared.wiring import build_services, connect_store
from tests.journeys.stack import free_ports
from tests.support.fakes import FakeHints
from tests.support.provider_stub import ProviderStub
from tests.support.provider_stub_mail import NAMED
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

RESETS = 200
LIFETIME_SECONDS = 3600.0
LIVES = {
    "KEYTURN_PROVIDER_TIMEOUT_SECONDS": "3",
    "KEYTURN_LEASE_SECONDS": "10",
    "KEYTURN_DOUBT_SECONDS": "1",
    "KEYTURN_RETRY_DELAYS_SECONDS": "0.5",
}


@pytest.fixture
def stub():
    with ProviderStub(port=free_ports(1)[0]) as running:
        yield running


@pytest.fixture
def keyturn_with_users(start_keyturn, stub):
    opened = start_keyturn(
        KEYTURN_EMAIL_PROVIDERS="sendgrid",
        KEYTURN_SENDGRID_API_KEY="SG.test",
        KEYTURN_SENDGRID_API_URL=stub.url,
        **LIVES,
    )
    users = [
        {"userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com", "emailVerified": True}
        for n in range(RESETS)
    ]
    bad = {"userId": "bad", "orgId": "demo", "email": f"bad{NAMED}", "emailVerified": True}
    lines = "\n".join(map(json.dumps, [*users, bad]))
    done = opened.cli("user", "import", "-", given=lines)
    assert done.returncode == 0, done.stderr
    return opened


@pytest.fixture
def services(keyturn_with_users):
    settings = load_settings(keyturn_with_users.environ)
    with connect_store(settings) as client:
        yield build_services(settings, client=client, hints=FakeHints())


def record(services, user_ids):
    """Resets in the bulk queue, as a batch makes them; nobody is told."""
    news = [
        NewReset(
            reset_id=services.digests.new_reset_id(user_id),
            user_id=user_id,
            org_id="demo",
            channel=Channel.EMAIL,
            language="en",
            key_id=services.codes.signing_key_id,
            lifetime_seconds=LIFETIME_SECONDS,
            last_start_seconds=last_start_seconds(Channel.EMAIL, LIFETIME_SECONDS),
            queue=Queue.BULK,
        )
        for user_id in user_ids
    ]
    assert services.batch_resets.record(news) == [""] * len(news)
    return [new.reset_id for new in news]


def statuses(services, ids):
    return [services.resets.find(reset_id).status for reset_id in ids]


def are_final(services, ids):
    return all(status.is_final for status in statuses(services, ids))


def test_a_batch_takes_few_calls_and_one_bad_address_costs_itself(
    keyturn_with_users, services, stub
):
    ids = record(services, [f"u{n}" for n in range(RESETS)])
    (bad,) = record(services, ["bad"])

    wait_until(lambda: are_final(services, [*ids, bad]), what="all of the batch")

    assert statuses(services, ids) == [Status.ACCEPTED] * RESETS
    assert services.resets.find(bad).status is Status.FAILED
    assert Counter(entry["resetId"] for entry in stub.taken) == dict.fromkeys(ids, 1)
    assert len(stub.requests) <= 8
    assert max(entry["recipients"] for entry in stub.taken) > RESETS // 2


def test_kill_9_in_the_call_loses_nobody_and_copies_carry_the_same_code(
    keyturn_with_users, services, stub
):
    stub.delay_seconds = 2.0
    ids = record(services, [f"u{n}" for n in range(RESETS)])

    wait_until(lambda: stub.requests, what="the call")
    keyturn_with_users.kill("bulk")
    stub.delay_seconds = 0.0
    wait_until(lambda: are_final(services, ids), what="all of the batch")

    assert statuses(services, ids) == [Status.ACCEPTED] * RESETS
    copies = Counter(entry["resetId"] for entry in stub.taken)
    assert set(copies) == set(ids)
    assert max(copies.values()) == 2  # what was in the call when it died
    for reset_id in ids:
        mails = [entry["mail"] for entry in stub.taken if entry["resetId"] == reset_id]
        assert len({mail["content"][0]["value"] for mail in mails}) == 1
        assert len({mail["headers"]["Message-ID"] for mail in mails}) == 1
