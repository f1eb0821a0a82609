"""`keyturn provider`, as an operator types it; and what /metrics says of the providers."""

from __future__ import annotations

import json
import time

import pytest

from shared.models import Channel, Recipient
from shared.store.admin.circuits import CallTally
from shared.store.admin.pauses import Scope
from tests.support.builders import some_services
from tests.support.provider_stub import Answer, ProviderStub
from web.app import create_app

OUTAGE = CallTally(bad=1, account=1, is_outage=True, reason="http_401")
BOTH = {
    "KEYTURN_EMAIL_PROVIDERS": "sendgrid,smtp",
    "KEYTURN_SMS_PROVIDERS": "outbox",
    "KEYTURN_SMTP_URL": "smtp://127.0.0.1:1",
}
KEY = {"KEYTURN_SENDGRID_API_KEY": "SG.secret"}

real = pytest.mark.real_server


@pytest.fixture
def stub():
    with ProviderStub() as running:
        yield running


@pytest.fixture
def on_stub(stub):
    """Settings under which SendGrid is the stub."""
    return BOTH | KEY | {"KEYTURN_SENDGRID_API_URL": stub.url}


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def listed(run, name, environ):
    rows = printed(run("provider", "list", "--json", **environ))
    return next(row for row in rows if row["provider"] == name)


@real
def test_the_list_tells_how_each_provider_stands(run, services, on_stub):
    services.circuits.record("sendgrid", CallTally(good=3))
    services.circuits.record("sendgrid", OUTAGE)
    services.circuits.record("sendgrid", CallTally(switch=("smtp", "circuit_open")))

    rows = printed(run("provider", "list", "--json", **on_stub))
    words = run("provider", "list", **on_stub).stdout

    first = rows[0]
    assert [row["provider"] for row in rows] == ["sendgrid", "smtp", "outbox"]
    assert (first["channel"], first["order"], first["circuit"]) == ("email", 1, "open")
    assert first["reason"] == "http_401"
    assert (first["errorRateIn30Seconds"], first["triesIn30Seconds"]) == (0.25, 4)
    assert first["openedAt"] is not None
    assert first["lastSwitch"]["to"] == "smtp"
    assert "open (http_401)" in words
    assert "25% of 4" in words


@real
def test_the_list_and_the_status_tell_the_same_of_a_provider(run, services, on_stub):
    services.circuits.record("sendgrid", CallTally(good=3))
    services.pauses.pause(Scope.PROVIDER, "smtp", by="eve", reason="moving")

    rows = printed(run("provider", "list", "--json", **on_stub))

    assert rows == printed(run("status", "--json", **on_stub))["providers"]
    assert [row["paused"] is not None for row in rows] == [row["isPaused"] for row in rows]
    assert [row["isPaused"] for row in rows] == [False, True, False]


@real
def test_a_pause_says_who_and_why_until_it_is_resumed(run, services, on_stub):
    printed(
        run("provider", "pause", "smtp", "--reason", "moving", "--by", "eve", "--json", **on_stub)
    )
    paused = listed(run, "smtp", on_stub)["paused"]

    printed(
        run("provider", "resume", "smtp", "--reason", "moved", "--by", "eve", "--json", **on_stub)
    )

    assert (paused["by"], paused["reason"]) == ("eve", "moving")
    assert listed(run, "smtp", on_stub)["paused"] is None
    acts = [entry.act.action for entry in services.audit.newest()]
    assert acts == ["provider.resume", "provider.pause"]


@real
def test_one_that_was_left_alone_may_be_tried_at_once(run, services, on_stub):
    services.circuits.record("sendgrid", OUTAGE)

    printed(run("provider", "resume", "sendgrid", "--reason", "new key", "--json", **on_stub))

    assert listed(run, "sendgrid", on_stub)["circuit"] == "half_open"
    assert services.audit.newest()[0].act.action == "provider.try"


@real
def test_a_test_message_really_goes_out(run, services, stub, on_stub):
    told = printed(
        run("provider", "test", "sendgrid", "--to", "eve@example.com", "--language", "de", "--json",
            **on_stub)
    )  # fmt: skip

    mail = stub.taken[0]["mail"]
    assert (told["outcome"], told["providerMessageId"]) == ("accepted", stub.taken[0]["id"])
    assert stub.taken[0]["to"] == "eve@example.com"
    assert mail["subject"] == "Ein Test der Betreiber"
    assert told["recipient"] == "e***@example.com"
    entry = services.audit.newest()[0]
    act = (entry.act.action, entry.act.target, entry.outcome)
    assert act == ("provider.test", "sendgrid", "done")


@real
def test_a_test_message_that_is_refused_says_why_and_ends_with_1(run, stub, on_stub):
    stub.answers(Answer(401))

    done = run("provider", "test", "sendgrid", "--to", "eve@example.com", "--json", **on_stub)

    told = json.loads(done.stdout)
    assert (done.returncode, told["outcome"], told["reason"]) == (1, "account", "http_401")
    assert "API key" in done.stderr


@real
def test_a_test_sms_goes_out_in_one_segment(run, stub):
    environ = {
        "KEYTURN_SMS_PROVIDERS": "twilio-2",
        "KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2",
        "KEYTURN_TWILIO_2_AUTH_TOKEN": "x",
        "KEYTURN_TWILIO_2_FROM": "+41791111111",
        "KEYTURN_TWILIO_2_API_URL": stub.url,
    }

    told = printed(run("provider", "test", "twilio-2", "--to", "+41791234567", "--json", **environ))
    abroad = run("provider", "test", "twilio-2", "--to", "+12025550123", **environ)

    assert told["providerMessageId"] == stub.taken[0]["id"]
    assert stub.taken[0]["form"]["Body"] == "Test by the operator: nothing to do."
    assert abroad.returncode == 1
    assert "country" in abroad.stderr
    assert len(stub.taken) == 1


@real
def test_nobody_suppressed_is_written_to_not_even_for_a_test(run, services, stub, on_stub):
    eve = Recipient(Channel.EMAIL, "eve@example.com")
    services.suppressions.add(eve, reason="complaint", source="sendgrid")

    done = run("provider", "test", "sendgrid", "--to", "eve@example.com", **on_stub)

    assert done.returncode == 1
    assert "suppressed" in done.stderr
    assert stub.taken == []


@real
@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("pause", "pigeon", "--reason", "x"), 1, "there is no provider 'pigeon'"),
        (("resume", "smtp", "--reason", "x"), 1, "is not paused, and its circuit is not open"),
        (("resume", "pigeon", "--reason", "x"), 1, "there are sendgrid, smtp, outbox"),
        (("test", "smtp", "--to", "+41791234567"), 1, "does not carry sms"),
        (("test", "smtp", "--to", "banana"), 1, "must be a phone number"),
        (("test", "smtp", "--to", "eve@example.com"), 1, "did not take it"),
    ],
)
def test_what_cannot_be_done_is_said(run, on_stub, arguments, status, reason):
    done = run("provider", *arguments, **on_stub)

    assert done.returncode == status
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wait_seconds", "told", "state"),
    [(0, CallTally(good=1), 0), (0, OUTAGE, 2), (0.06, OUTAGE, 1)],
)
def test_metrics_tell_the_state_of_each_circuit(fake_client, wait_seconds, told, state):
    services = some_services(fake_client)
    services.circuits.record("outbox", told)
    if wait_seconds:
        services.circuits.allow_probe("outbox")
        time.sleep(wait_seconds)

    text = create_app(services).test_client().get("/metrics").text

    assert f'keyturn_circuit_state{{provider="outbox"}} {state}.0' in text
    assert f'keyturn_circuit_error_ratio{{provider="outbox"}} {float(told.bad)}' in text


def test_metrics_count_the_switches(fake_client):
    fake_client.hset("{kt:fk}:m", "sw:sendgrid:smtp:circuit_open", 2)
    fake_client.hset("{kt:g5}:m", "sw:sendgrid:smtp:circuit_open", 1)

    text = create_app(some_services(fake_client)).test_client().get("/metrics").text

    name = 'keyturn_provider_switches_total{provider="sendgrid",reason="circuit_open",to="smtp"}'
    assert f"{name} 3.0" in text
