"""SendGrid has trouble and the relay carries, by real processes; the operator sees and steers."""

from __future__ import annotations

import json

import pytest
import requests

from tests.journeys.stack import free_ports
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.smtp_server import SmtpServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_server

USERS = 40
WHY = ("--reason", "journey", "--by", "eve")


@pytest.fixture
def sendgrid():
    with ProviderStub(port=free_ports(1)[0]) as running:
        yield running


@pytest.fixture
def relay():
    with SmtpServer() as running:
        yield running


@pytest.fixture
def mail(start_keyturn, sendgrid, relay):
    """A Keyturn with both providers, and people to write to."""
    opened = start_keyturn(
        KEYTURN_EMAIL_PROVIDERS="sendgrid,smtp",
        KEYTURN_SENDGRID_API_KEY="SG.test",
        KEYTURN_SENDGRID_API_URL=sendgrid.url,
        KEYTURN_SMTP_URL=relay.url,
        KEYTURN_RETRY_DELAYS_SECONDS="0.3",
    )
    users = [
        {"userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com", "emailVerified": True}
        for n in range(USERS)
    ]
    done = opened.cli("user", "import", "-", given="\n".join(map(json.dumps, users)))
    assert done.returncode == 0, done.stderr
    return Mail(opened, sendgrid, relay)


class Mail:
    """What the journey does and sees."""

    def __init__(self, keyturn, sendgrid, relay):
        self.keyturn, self._sendgrid, self._relay = keyturn, sendgrid, relay
        self._users = iter(range(USERS))

    def ask(self):
        """A reset for the next user; its id."""
        answer = requests.post(
            f"{self.keyturn.url}/users/u{next(self._users)}/password/_reset",
            headers={"Authorization": f"Bearer {self.keyturn.token}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["Keyturn-Reset-Id"]

    def came_by(self, reset_id):
        """Who carried it, once it has arrived."""
        wait_until(lambda: self._carrier(reset_id) is not None, what="the mail's arrival")
        return self._carrier(reset_id)

    def _carrier(self, reset_id):
        if reset_id in self._relay.reset_ids:
            return "smtp"
        return "sendgrid" if reset_id in [e["resetId"] for e in self._sendgrid.taken] else None

    def cli(self, *arguments):
        done = self.keyturn.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def first(self):
        """SendGrid as the operator sees it."""
        return self.cli("provider", "list")[0]

    def metrics(self):
        return requests.get(f"{self.keyturn.url}/metrics", timeout=60).text


def test_the_relay_carries_while_sendgrid_has_trouble_and_no_longer(mail, sendgrid):
    assert mail.came_by(mail.ask()) == "sendgrid"

    sendgrid.outage = Answer.of_json(401, {"errors": [{"message": "Maximum credits exceeded"}]})
    first_hit = mail.ask()
    assert mail.came_by(first_hit) == "smtp"
    assert {mail.came_by(mail.ask()) for _ in range(5)} == {"smtp"}
    assert len(sendgrid.requests) <= 1 + 2 * 2  # each process may find out by itself

    seen = mail.first()
    assert (seen["circuit"], seen["reason"]) == ("open", "credits_used_up")
    wait_until(lambda: mail.first()["lastSwitch"], what="a last switch")
    assert mail.first()["lastSwitch"]["to"] == "smtp"
    assert 'keyturn_circuit_state{provider="sendgrid"} 2.0' in mail.metrics()
    assert 'reason="circuit_open",to="smtp"' in mail.metrics()
    told = mail.cli("explain", "--reset", first_hit)["resets"][0]
    assert [each["outcome"] for each in told["attempts"]] == ["account", "accepted"]
    assert [(e["type"], e["detail"]) for e in told["events"]] == [
        ("failed_over", "instead of sendgrid: account")
    ]

    sendgrid.outage = None
    wait_until(lambda: mail.first()["circuit"] == "half_open", what="half open")
    assert [mail.came_by(mail.ask()) for _ in range(3)] == ["sendgrid"] * 3
    wait_until(lambda: mail.first()["circuit"] == "closed", what="a closed circuit")
    assert mail.came_by(mail.ask()) == "sendgrid"
    events = [mail.keyturn.events(name) for name in ("circuit.opened", "circuit.closed")]
    assert [bool(lines) for lines in events] == [True, True]


def test_the_operator_pauses_tests_and_resumes_a_provider(mail, sendgrid):
    mail.cli("provider", "pause", "sendgrid", *WHY)
    wait_until(lambda: mail.came_by(mail.ask()) == "smtp", what="the pause's effect")
    assert mail.first()["paused"]["by"] == "eve"

    told = mail.cli("provider", "test", "sendgrid", "--to", "eve@example.com", "--by", "eve")
    assert told["outcome"] == "accepted"
    assert sendgrid.taken[-1]["to"] == "eve@example.com"

    mail.cli("provider", "pause", "smtp", *WHY)
    wait_until(lambda: _waits(mail, mail.ask()), what="a reset that waits and says so")

    mail.cli("provider", "resume", "sendgrid", *WHY)
    wait_until(lambda: mail.came_by(mail.ask()) == "sendgrid", what="the resume's effect")
    acts = [entry["action"] for entry in mail.cli("audit")]
    assert {"provider.pause", "provider.test", "provider.resume"} <= set(acts)


def _waits(mail, reset_id):
    """True when the reset was looked at and waits for a provider."""
    reason = None

    def is_seen():
        nonlocal reason
        told = mail.cli("explain", "--reset", reset_id)["resets"][0]
        reason = told["reason"]
        return reason or told["status"] == "accepted"

    wait_until(is_seen, what="a look at the reset")
    return reason == "provider_paused"
