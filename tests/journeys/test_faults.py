"""Kill -9 in the middle of a hundred resets: every accepted one arrives, judged by the provider."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import pytest
import requests
from house import free_ports, wait_until

from tests.provider_stub import ProviderStub

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

RESETS = 100
LIVES = {
    "KEYTURN_PROVIDER_TIMEOUT_SECONDS": "3",
    "KEYTURN_LEASE_SECONDS": "10",
    "KEYTURN_DOUBT_SECONDS": "2",
    "KEYTURN_RETRY_DELAYS_SECONDS": "0.5",
}


@pytest.fixture
def stub():
    with ProviderStub(port=free_ports(1)[0], delay_ms=100) as running:
        yield running


@pytest.fixture
def mail_house(open_house, stub):
    opened = open_house(
        KEYTURN_EMAIL_PROVIDERS="sendgrid",
        KEYTURN_SENDGRID_API_KEY="SG.test",
        KEYTURN_SENDGRID_API_URL=stub.url,
        KEYTURN_WORKER_THREADS="4",
        **LIVES,
    )
    users = [
        {"userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com", "emailVerified": True}
        for n in range(RESETS)
    ]
    done = opened.cli("user", "import", "-", given="\n".join(map(json.dumps, users)))
    assert done.returncode == 0, done.stderr
    return opened


def ask_until_yes(house, number: int) -> str:
    """A caller that repeats with the same Idempotency-Key until it gets its 200."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        try:
            answer = requests.post(
                f"{house.url}/users/u{number}/password/_reset",
                headers={
                    "Authorization": f"Bearer {house.token}",
                    "Idempotency-Key": f"journey-{number}",
                },
                timeout=10,
            )
        except requests.ConnectionError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            return answer.headers["Keyturn-Reset-Id"]
        assert answer.status_code == 503, answer.text
        time.sleep(0.1)
    raise AssertionError("no yes within a minute")


@pytest.mark.parametrize("victim", ["worker", "web", "server"])
def test_every_accepted_reset_arrives_although_a_process_is_killed(mail_house, stub, victim):
    accepted: list[str] = []
    asking = threading.Thread(
        target=lambda: accepted.extend(ask_until_yes(mail_house, n) for n in range(RESETS))
    )

    asking.start()
    wait_until(lambda: len(stub.taken) >= 20, seconds=30, what="twenty messages")
    mail_house.kill(victim)
    asking.join(90)

    assert len(accepted) == RESETS
    wait_until(
        lambda: set(accepted) <= {entry["resetId"] for entry in stub.taken},
        seconds=60,
        what="every accepted reset at the provider",
    )
    copies = Counter(entry["resetId"] for entry in stub.taken)
    doubled = {reset_id for reset_id, number in copies.items() if number > 1}
    assert set(copies) <= set(accepted)  # nothing that nobody was told of
    assert len(doubled) <= 4  # what was in the four threads' hands
    for reset_id in doubled:
        texts = {e["mail"]["content"][0]["value"] for e in stub.taken if e["resetId"] == reset_id}
        assert len(texts) == 1  # the same code
