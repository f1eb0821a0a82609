"""SMTP against a real server (aiosmtpd), and against one that misbehaves at every step."""

from __future__ import annotations

import email
import socket
import ssl
from datetime import UTC, datetime
from email.policy import default as modern

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    SettingsError,
    TransientProviderError,
)
from shared.models import Receipt
from shared.providers.smtp import Smtp
from shared.providers.smtp_relay import parse_relay
from tests.provider_builders import (
    PASSWORD,
    SLACK_SECONDS,
    TIMEOUT_SECONDS,
    a_mail,
    outcome_of,
    some_settings,
)
from tests.relay_stub import CUT, DRIP, GARBAGE, HANG, RelayStub

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class Mailbox:
    """What aiosmtpd hands over."""

    def __init__(self):
        self.envelopes = []
        self.was_tls = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        self.was_tls.append(session.ssl is not None)
        return "250 2.0.0 Ok: queued as REAL1"

    def mail(self):
        return email.message_from_bytes(self.envelopes[-1].content, policy=modern)


def at(controller):
    return controller.server.sockets[0].getsockname()


@pytest.fixture
def serve():
    started = []

    def start(**options):
        mailbox = Mailbox()
        controller = Controller(mailbox, hostname="127.0.0.1", port=0, **options)
        # aiosmtpd knocks at the port it was told, and that was 0.
        controller._trigger_server = lambda: socket.create_connection(at(controller)).close()
        controller.start()
        started.append(controller)
        return mailbox, at(controller)[1]

    yield start
    for controller in started:
        controller.stop()


def provider(url, trust=None, timeout_seconds=3.0):
    settings = some_settings(smtp_url=url, provider_timeout_seconds=timeout_seconds)
    return Smtp(settings, tls=trust, clock=NOW.timestamp)


def accept(server, session, envelope, mechanism, auth_data):
    is_right = (auth_data.login, auth_data.password) == (b"us:er", PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


def test_a_mail_arrives_as_it_was_written(serve):
    mailbox, port = serve(enable_SMTPUTF8=True)
    mail = a_mail(text="Grüezi Ada\n.\n..\nEnde", html="<p>Grüezi</p>\n.hidden")

    receipt = provider(f"smtp://127.0.0.1:{port}").send(mail)

    got = mailbox.mail()
    assert receipt == Receipt("REAL1")
    assert mailbox.envelopes[0].mail_from == "no-reply@keyturn.example"
    assert mailbox.envelopes[0].rcpt_tos == ["ada.lovelace@example.com"]
    assert got.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in got.iter_parts()] == ["text/plain", "text/html"]
    contents = ["\n".join(part.get_content().splitlines()) for part in got.iter_parts()]
    assert contents == [mail.text, mail.html]
    assert got["Subject"] == "Réinitialisez votre mot de passe"
    assert got["From"] == "Keyturn <no-reply@keyturn.example>"
    assert got["To"] == "ada.lovelace@example.com"
    assert got["Date"].datetime == NOW
    assert got["Message-ID"] == mail.message_id
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Keyturn-Reset-Id"] == mail.reset_id


def test_a_long_message_id_stays_whole(serve):
    mailbox, port = serve()
    long_id = f"<{'0123456789abcdef' * 6}@reset.example.com>"

    provider(f"smtp://127.0.0.1:{port}").send(a_mail(message_id=long_id))

    assert f"Message-ID: {long_id}".encode() in mailbox.envelopes[0].content


def test_no_name_or_subject_can_add_a_header(serve):
    mailbox, port = serve()
    mail = a_mail(
        from_name='Acme" <x@y.example>\r\nBcc: b@example.com',
        subject="Hello\r\nX-Injected: 1\r\n\r\nbody",
        message_id="<a@b>\r\nX-Injected: 2",
        reset_id="1abc\nX-Injected: 3",
    )

    provider(f"smtp://127.0.0.1:{port}").send(mail)

    got = mailbox.mail()
    assert (got["X-Injected"], got["Bcc"]) == (None, None)
    assert mailbox.envelopes[0].rcpt_tos == ["ada.lovelace@example.com"]
    assert [each.addr_spec for each in got["From"].addresses] == ["no-reply@keyturn.example"]


@pytest.mark.parametrize(
    "address", ["a@example.com\r\nRCPT TO:<b@x.example>", "a@x.example,b@x.example"]
)
def test_an_address_that_is_not_one_plain_address_is_never_named(address):
    with RelayStub() as relay, pytest.raises(PermanentProviderError):
        provider(relay.url).send(a_mail(address))

    assert relay.commands == []


def test_an_accented_address_is_written_to_where_the_relay_can(serve):
    mailbox, port = serve(enable_SMTPUTF8=True)

    provider(f"smtp://127.0.0.1:{port}").send(a_mail("jürg@bücher.example"))

    assert mailbox.envelopes[0].rcpt_tos == ["jürg@xn--bcher-kva.example"]


def test_an_accented_address_is_refused_where_the_relay_cannot(serve):
    _, port = serve(enable_SMTPUTF8=False)

    with pytest.raises(PermanentProviderError) as caught:
        provider(f"smtp://127.0.0.1:{port}").send(a_mail("jürg@example.com"))

    assert caught.value.reason == "smtp_no_utf8"


def test_an_accented_domain_needs_no_special_relay(serve):
    mailbox, port = serve(enable_SMTPUTF8=False)

    provider(f"smtp://127.0.0.1:{port}").send(a_mail("ada@bücher.example"))

    assert mailbox.envelopes[0].rcpt_tos == ["ada@xn--bcher-kva.example"]


def test_starttls_is_used_when_it_is_offered(serve, server_tls, trust):
    mailbox, port = serve(tls_context=server_tls)

    provider(f"smtp://127.0.0.1:{port}", trust).send(a_mail())

    assert mailbox.was_tls == [True]


def test_a_certificate_nobody_vouches_for_ends_the_talk(serve, server_tls):
    mailbox, port = serve(tls_context=server_tls)

    with pytest.raises(TransientProviderError) as caught:
        provider(f"smtp://127.0.0.1:{port}").send(a_mail())

    assert caught.value.reason == "connect_tls"
    assert mailbox.envelopes == []


def test_a_starttls_that_leads_nowhere_was_not_sent():
    with RelayStub({"EHLO": "250-stub\r\n250 STARTTLS", "STARTTLS": "220 go"}) as relay:
        smtp = provider(relay.url, timeout_seconds=TIMEOUT_SECONDS)
        result, took_seconds = outcome_of(lambda: smtp.send(a_mail()))

    assert (type(result), result.reason) == (TransientProviderError, "connect_tls")
    assert took_seconds < TIMEOUT_SECONDS + SLACK_SECONDS
    assert relay.mails == []


def test_what_was_said_before_tls_does_not_count(serve, server_tls, trust):
    replies = {"EHLO": "250-stub\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250 injected"}
    with RelayStub(replies) as relay, pytest.raises(TransientProviderError):
        provider(relay.url, trust, timeout_seconds=TIMEOUT_SECONDS).send(a_mail())

    assert "MAIL FROM:<no-reply@keyturn.example>" not in relay.commands


def test_required_starttls_is_not_done_without(serve):
    mailbox, port = serve()

    with pytest.raises(AccountProviderError) as caught:
        provider(f"smtp://127.0.0.1:{port}?starttls=required").send(a_mail())

    assert caught.value.reason == "smtp_no_tls"
    assert mailbox.envelopes == []


def test_tls_from_the_first_byte_is_spoken(serve, server_tls, trust):
    mailbox, port = serve(ssl_context=server_tls)

    provider(f"smtps://127.0.0.1:{port}", trust).send(a_mail())

    assert len(mailbox.envelopes) == 1


def test_a_password_with_odd_signs_logs_in_over_tls(serve, server_tls, trust):
    mailbox, port = serve(tls_context=server_tls, authenticator=accept, auth_required=True)

    provider(f"smtp://us%3Aer:{PASSWORD}@127.0.0.1:{port}", trust).send(a_mail())

    assert len(mailbox.envelopes) == 1


def test_a_wrong_password_is_our_accounts_trouble(serve, server_tls, trust):
    _, port = serve(tls_context=server_tls, authenticator=accept, auth_required=True)

    with pytest.raises(AccountProviderError) as caught:
        provider(f"smtp://user:wrong@127.0.0.1:{port}", trust).send(a_mail())

    assert caught.value.reason == "smtp_535"


def test_a_relay_without_login_is_our_accounts_trouble(serve):
    _, port = serve()

    with pytest.raises(AccountProviderError):
        provider(f"smtp://user:{PASSWORD}@127.0.0.1:{port}").send(a_mail())


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
        (".", "552 too big", PermanentProviderError, "smtp_552", None),
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
