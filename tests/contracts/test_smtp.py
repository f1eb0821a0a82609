"""SMTP against a real server (aiosmtpd), and against one that misbehaves at every step."""

from __future__ import annotations

import email
import socket
from datetime import UTC, datetime
from email.policy import default as modern

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from shared.errors import (
    AccountProviderError,
    PermanentProviderError,
    TransientProviderError,
)
from shared.models import Receipt
from shared.providers.smtp import Smtp
from tests.support.provider_builders import (
    LOGO,
    PASSWORD,
    a_mail,
    some_settings,
)
from tests.support.relay_stub import RelayStub
from tests.support.tls_contexts import client_context, server_context

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority):
    return server_context(authority)


@pytest.fixture(scope="module")
def trust(authority):
    return client_context(authority)


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
    assert got["X-Auto-Response-Suppress"] == "All"
    assert (got["Reply-To"], got["Feedback-ID"], got["List-Unsubscribe"]) == (None, None, None)
    assert got["Keyturn-Reset-Id"] == mail.reset_id


def test_the_logo_stands_beside_the_html_that_shows_it(serve):
    mailbox, port = serve()
    html = f'<p><img src="{LOGO.url}" alt="Acme"></p>'
    mail = a_mail(html=html, logo=LOGO, reply_to="help@bücher.example", feedback_id="a:b:c:keyturn")

    provider(f"smtp://127.0.0.1:{port}").send(mail)

    got = mailbox.mail()
    text, related = got.iter_parts()
    page, image = related.iter_parts()
    assert got.get_content_type() == "multipart/alternative"
    assert text.get_content_type() == "text/plain"
    assert related.get_content_type() == "multipart/related"
    assert page.get_content().strip() == html
    assert (image.get_content_type(), image.get_content()) == ("image/png", LOGO.content)
    assert image["Content-ID"] == f"<{LOGO.content_id}>"
    assert image["Content-Disposition"] == 'inline; filename="logo.png"'
    assert got["Reply-To"] == "help@xn--bcher-kva.example"
    assert got["Feedback-ID"] == "a:b:c:keyturn"


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
        feedback_id="a\r\nX-Injected: 4",
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
