"""`keyturn org sender`, as an operator types it."""

from __future__ import annotations

import json

import pytest

from tests.support.builders import an_organisation
from tests.support.dns_server import DnsServer
from tests.support.sender_builders import OWN_SECRETS, SENDGRID, save_sender

pytestmark = pytest.mark.real_server

WHY = ("--reason", "a test", "--by", "eve")


@pytest.fixture
def acme(services):
    an_organisation(services)
    return services


def test_a_sender_is_set_shown_and_removed(run, acme, tmp_path):
    path = tmp_path / "sender.json"
    path.write_text(json.dumps({"email": {"fromAddress": "a@acme.example", "sendgrid": SENDGRID}}))

    done = [
        run("org", "sender", "set", "acme", str(path), *WHY),
        run("org", "sender", "show", "acme"),
        run("org", "sender", "show", "acme", "--json"),
        run("org", "sender", "remove", "acme", *WHY),
    ]

    assert [each.returncode for each in done] == [0, 0, 0, 0], done[0].stderr
    assert "status.from.state" in done[1].stdout
    assert json.loads(done[2].stdout)["status"]["from"]["state"] == "unverified"
    assert not [each for each in OWN_SECRETS for d in done if each in d.stdout + d.stderr]
    assert acme.callers.find_organisation("acme").sender is None


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("{", "the file must be a JSON object"),
        ("[]", "the file must be a JSON object"),
        (
            '{"email": {"sendgrid": {"apiKey": "SG.x y"}}}',
            "email.sendgrid.apiKey: must be one word",
        ),
        ('{"sms": {"twilio": {}}}', "sms.twilio.accountSid: is missing"),
    ],
)
def test_a_bad_file_is_refused_by_the_fields_name(run, acme, tmp_path, text, refusal):
    path = tmp_path / "sender.json"
    path.write_text(text)

    done = run("org", "sender", "set", "acme", str(path), *WHY)

    assert done.returncode == 1
    assert refusal in done.stderr
    assert "SG.x y" not in done.stderr
    assert acme.callers.find_organisation("acme").sender is None


def test_the_domain_is_checked_by_dns_or_trusted(run, acme):
    save_sender(acme, {"email": {"fromAddress": "help@acme.example"}})

    def check(*options):
        return run("org", "sender", "check", "acme", *options, *WHY)

    with DnsServer({"acme.example": ["v=spf1 a -all"]}) as server:
        nameserver = ("--nameserver", f"127.0.0.1@{server.port}")
        before = check(*nameserver)
        token = before.stderr.split()[-1]
        server.records["_keyturn.acme.example"] = [token]
        after = check(*nameserver, "--json")

    assert before.returncode == 1
    assert "_keyturn.acme.example" in before.stderr
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout)["state"] == acme.senders.find("acme").from_.state == "verified"
    assert check("--trust").returncode == 0
    assert acme.senders.find("acme").from_.state == "trusted"


def test_without_a_from_there_is_nothing_to_check(run, acme):
    done = run("org", "sender", "check", "acme", "--trust", *WHY)

    assert done.returncode == 1
    assert "email.fromAddress" in done.stderr


def test_an_organisation_that_is_not_there_is_refused(run, acme):
    done = run("org", "sender", "show", "nowhere")

    assert done.returncode == 1
    assert "there is no organisation" in done.stderr


def test_an_own_provider_is_paused_and_resumed_by_its_name(run, acme):
    save_sender(acme, {"email": {"sendgrid": SENDGRID}})

    done = [run("provider", verb, "org:acme:sendgrid", *WHY) for verb in ("pause", "resume")]
    unknown = [
        run("provider", "pause", name, *WHY) for name in ("org:acme:smtp", "org:x:sendgrid", "org:")
    ]

    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert [each.returncode for each in unknown] == [1, 1, 1]
