"""SMTP against a relay that misbehaves at every step, and the setting that says where it is."""

from __future__ import annotations

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    RouteUnfitError,
    SettingsError,
    TransientProviderError,
)
from shared.models import Receipt
from shared.providers.smtp import Smtp, parse_relay
from tests.support.provider_builders import (
    PASSWORD,
    TIMEOUT_SECONDS,
    a_mail,
    outcome_of,
    some_settings,
)
from tests.support.relay_stub import CUT, DRIP, GARBAGE, HANG, RelayStub
from tests.support.waiting import SLACK_SECONDS


def provider(url, timeout_seconds=2.0):
    return Smtp(some_settings(smtp_url=url, provider_timeout_seconds=timeout_seconds))


def test_a_starttls_that_leads_nowhere_was_not_sent():
    with RelayStub({"EHLO": "250-stub\r\n250 STARTTLS", "STARTTLS": "220 go"}) as relay:
        smtp = provider(relay.url, timeout_seconds=TIMEOUT_SECONDS)
        result, took_seconds = outcome_of(lambda: smtp.send(a_mail()))

    assert (type(result), result.reason) == (TransientProviderError, "connect_tls")
    assert took_seconds < TIMEOUT_SECONDS + SLACK_SECONDS
    assert relay.mails == []


def test_what_was_said_before_tls_does_not_count():
    replies = {"EHLO": "250-stub\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250 injected"}
    with RelayStub(replies) as relay, pytest.raises(TransientProviderError):
        provider(relay.url, timeout_seconds=TIMEOUT_SECONDS).send(a_mail())

    assert "MAIL FROM:<no-reply@keyturn.example>" not in relay.commands


def test_a_password_is_not_told_without_tls_beyond_this_machine():
    # 0.0.0.0 is this machine under a name that is not a loopback's.
    with RelayStub({"EHLO": "250-stub\r\n250 AUTH PLAIN"}) as relay:
        url = relay.url.replace("127.0.0.1", f"user:{PASSWORD}@0.0.0.0")
        with pytest.raises(AccountProviderError) as caught:
            provider(url).send(a_mail())

    assert caught.value.reason == "smtp_no_tls"
    assert not [line for line in relay.commands if line.startswith("AUTH")]


@pytest.mark.parametrize(
    ("step", "reply", "expected", "reason", "suppression"),
    [
        ("greeting", "421 busy", TransientProviderError, "smtp_421", None),
        ("greeting", "554 no", AccountProviderError, "smtp_554", None),
        ("EHLO", "550 no", AccountProviderError, "smtp_550", None),
        ("MAIL", "451 later", TransientProviderError, "smtp_451", None),
        ("MAIL", "530 log in", AccountProviderError, "smtp_530", None),
        ("MAIL", "553 5.1.8 who", AccountProviderError, "smtp_553", None),
        ("RCPT", "421 busy", TransientProviderError, "smtp_421", None),
        ("RCPT", "450 4.2.0 greylisted", TransientProviderError, "smtp_450", None),
        ("RCPT", "530 log in", AccountProviderError, "smtp_530", None),
        ("RCPT", "550 5.1.1 unknown user", PermanentProviderError, "smtp_550", "bounce"),
        ("RCPT", "550 5.1.1", PermanentProviderError, "smtp_550", "bounce"),
        (
            "RCPT",
            "550-5.1.1 unknown\r\n550 5.1.1 user",
            PermanentProviderError,
            "smtp_550",
            "bounce",
        ),
        ("RCPT", "550 5.7.1 policy", PermanentProviderError, "smtp_550", None),
        ("RCPT", "551 user not local", PermanentProviderError, "smtp_551", None),
        ("RCPT", "552 5.2.2 mailbox full", PermanentProviderError, "smtp_552", None),
        ("DATA", "451 later", TransientProviderError, "smtp_451", None),
        ("DATA", "554 no", PermanentProviderError, "smtp_554", None),
        (".", "451 later", TransientProviderError, "smtp_451", None),
        (".", "552 too big", RouteUnfitError, "smtp_552", None),
        (".", "354 more", DoubtfulProviderError, "smtp_354", None),
    ],
)
def test_a_reply_of_the_relay_means(step, reply, expected, reason, suppression):
    with RelayStub({step: reply}) as relay, pytest.raises(expected) as caught:
        provider(relay.url, timeout_seconds=2).send(a_mail())

    assert type(caught.value) is expected
    assert caught.value.reason == reason
    assert getattr(caught.value, "suppression", None) == suppression


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(
    "fault", [HANG, CUT, DRIP, GARBAGE], ids=["hang", "cut", "drip", "garbage"]
)
def test_only_a_fault_after_the_final_dot_is_doubt(step, fault):
    expected = DoubtfulProviderError if step == "." else TransientProviderError
    with RelayStub({step: fault}) as relay:
        smtp = provider(relay.url, timeout_seconds=TIMEOUT_SECONDS)
        result, took_seconds = outcome_of(lambda: smtp.send(a_mail()))

    assert type(result) is expected
    assert took_seconds < TIMEOUT_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("fault", [HANG, CUT, GARBAGE])
def test_a_mail_the_relay_took_stays_taken_without_a_goodbye(fault):
    with RelayStub({"QUIT": fault}) as relay:
        receipt = provider(relay.url, timeout_seconds=TIMEOUT_SECONDS).send(a_mail())

    assert receipt == Receipt("4ABC12")


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost:25", "http://relay.example", "smtp://", "smtp://h:port", "smtp://h/path",
        f"smtp://user:{PASSWORD}ü@h", f"smtp://:{PASSWORD}@h", "smtp://user@h",
        "smtp://h?starttls=never", "smtp://h?tls=1",
    ],
)  # fmt: skip
def test_a_url_of_another_shape_is_refused(url):
    with pytest.raises(SettingsError, match="KEYTURN_SMTP_URL") as caught:
        parse_relay(url)

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "port"),
    [("smtp://h", 25), ("smtp://u:p@h", 587), ("smtps://h", 465), ("smtp://u:p@h:2525", 2525)],
)
def test_the_port_is_the_usual_one_unless_told(url, port):
    assert parse_relay(url).port == port


def test_the_password_is_not_in_the_relays_repr():
    relay = parse_relay(f"smtp://user%40x:{PASSWORD}%2F%3A@h")

    assert (relay.user, relay.password) == ("user@x", f"{PASSWORD}/:")
    assert PASSWORD not in repr(relay)


def test_a_relay_that_replies_without_an_end_is_hung_up_on():
    reply = "".join(f"250-{'x' * 5000}\r\n" for _ in range(1000)) + "250 end"
    with RelayStub({"EHLO": reply}) as relay, pytest.raises(TransientProviderError) as caught:
        provider(relay.url).send(a_mail())

    assert caught.value.reason == "write_cut"
