"""A code goes to the very domain that was meant, by every provider, and in a head all can read."""

from __future__ import annotations

import email
import re
import socket
from contextlib import ExitStack
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.policy import default as modern

import pytest
import trustme
from aiosmtpd.controller import Controller
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import ImportLineError, SettingsError, TransientProviderError, UnsendableError
from shared.models import Channel, Organisation, Recipient, Status
from shared.providers.message_checks import one_line
from shared.providers.outbox import Outbox, read_outbox
from shared.providers.sendgrid import SendGrid
from shared.providers.smtp import Smtp, format_mime
from shared.settings import load_settings
from shared.store.admin.circuits import CallTally
from shared.store.suppressions import SuppressionStore
from tests.support.builders import a_user
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.provider_builders import a_mail, some_settings
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.relay_stub import RelayStub
from tests.support.tls_contexts import client_context, server_context
from web.explain.diagnosis import diagnose
from web.explain.model import Evidence

SHARP, SHARP_ASCII = "straße.example", "xn--strae-oqa.example"
# What was given → the domain on the wire: never that of IDNA 2003.
DOMAINS = [
    (SHARP, SHARP_ASCII),
    ("STRASSE.example", "strasse.example"),
    ("STRAẞE.Example", SHARP_ASCII),
    (SHARP_ASCII, SHARP_ASCII),
    (SHARP_ASCII.upper(), SHARP_ASCII),
    ("straße。example", SHARP_ASCII),
    ("post.fußball.example", "post.xn--fuball-cta.example"),
    ("βόλος.example", "xn--nxasmm1c.example"),
    ("ΒΌΛΟΣ.example", "xn--nxasmq6b.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("ｅｘａｍｐｌｅ.example", "example.example"),
    ("faß.de", "xn--fa-hia.de"),
]
WORD = re.compile(r"=\?[^? ]+\?[qQbB]\?[^? ]*\?=")
LONG_NAMES = [
    "Überörtliche Gemeinschaftspraxis für Gefäßchirurgie Köln",
    "Общество с ограниченной ответственностью Рога",
    "株式会社日本語の長い名前の会社です",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "👩‍👩‍👧‍👦" * 12,
    'Müller, Söhne & "Töchter" <GmbH>',
]


@pytest.fixture
def open_until_the_end():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def relay(open_until_the_end):
    return open_until_the_end.enter_context(RelayStub())


@pytest.fixture
def stub(open_until_the_end):
    return open_until_the_end.enter_context(ProviderStub())


def said(relay, verb):
    """What the relay was told by this command, each time."""
    lines = [line.partition(" ") for line in relay.commands]
    return [rest for first, _, rest in lines if first.lower() == verb]


def sent(client, provider, address):
    """Import a user with this address, reset, deliver; the record."""
    worker = some_delivery_services(client, provider)
    a_user(worker.services, email=address)
    reset_id = worker.record()
    worker.deliver(reset_id)
    return worker.look(reset_id)


# ---- domains


@pytest.mark.parametrize(("given", "right"), DOMAINS)
def test_a_relay_is_told_the_domain_that_was_meant(fake_client, relay, given, right):
    reset = sent(fake_client, Smtp(some_settings(smtp_url=relay.url)), f"ada@{given}")

    assert reset.status is Status.ACCEPTED
    assert said(relay, "rcpt") == [f"TO:<ada@{right}>"]
    assert f"To: ada@{right}\r\n".encode() in relay.mails[0]


@pytest.mark.parametrize(("given", "right"), DOMAINS)
def test_sendgrid_is_told_the_same(fake_client, stub, given, right):
    provider = SendGrid(some_settings(sendgrid_api_url=stub.url))

    sent(fake_client, provider, f"ada@{given}")

    assert stub.requests[0].json["personalizations"][0]["to"] == [{"email": f"ada@{right}"}]
    provider.close()


@pytest.mark.parametrize(("given", "right"), DOMAINS)
def test_the_outbox_is_told_the_same(fake_client, tmp_path, given, right):
    sent(fake_client, Outbox(Channel.EMAIL, tmp_path), f"ada@{given}")

    assert [entry["to"] for entry in read_outbox(tmp_path)] == [f"ada@{right}"]


def test_a_batch_is_told_the_same(fake_client, stub):
    provider = SendGrid(some_settings(sendgrid_api_url=stub.url))
    worker = some_delivery_services(fake_client, provider)
    wanted = {}
    for number, (domain, right) in enumerate(DOMAINS):
        user_id = a_user(worker.services, f"u{number}", email=f"u{number}@{domain}")
        wanted[worker.record(user_id)] = [{"email": f"u{number}@{right}"}]

    worker.bulk_delivery().deliver(list(wanted))

    told = {
        each["custom_args"]["keyturn_reset_id"]: each["to"]
        for request in stub.requests
        for each in request.json["personalizations"]
    }
    assert told == wanted
    provider.close()


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("نامه\u200cای.example", "xn--mgba3gch31f.example"),
        ("क्\u200dष.example", "xn--11b2ezc.example"),
        ("a\u200db.example", "ab.example"),
        ("x\u00ad.example", "x.example"),
        ("☃.example", "xn--n3h.example"),
    ],
)
def test_an_address_that_cannot_be_kept_as_it_is_is_refused_by_its_field(fake_client, given, right):
    worker = some_delivery_services(fake_client)

    with pytest.raises(ImportLineError, match="email must be") as caught:
        a_user(worker.services, email=f"ada@{given}")

    assert right not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
        ("क्\u200dष.example", "xn--11b2ezcw70k.example"),
        ("example.com.", "example.com"),
        (f"{SHARP}.", SHARP_ASCII),
    ],
)
def test_what_another_directory_says_is_written_to_as_it_is(relay, given, right):
    Smtp(some_settings(smtp_url=relay.url)).send(a_mail(f"ada@{given}"))

    assert said(relay, "rcpt") == [f"TO:<ada@{right}>"]


@pytest.mark.parametrize(
    "given", ["a\u200db.example", "☃.example", "straße_x.example", "ß" * 70 + ".example", "ß..de"]
)
def test_what_another_directory_says_and_dns_cannot_have_is_not_sent(relay, stub, tmp_path, given):
    settings = some_settings(smtp_url=relay.url, sendgrid_api_url=stub.url)

    for provider in (Smtp(settings), SendGrid(settings), Outbox(Channel.EMAIL, tmp_path)):
        with pytest.raises(UnsendableError) as caught:
            provider.send(a_mail(f"ada@{given}"))
        assert caught.value.reason == "bad_address"
        assert given not in str(caught.value)

    assert (relay.commands, stub.requests, read_outbox(tmp_path)) == ([], [], [])


def test_the_sender_is_of_the_domain_that_was_set(fake_client, relay, stub, tmp_path):
    settings = load_settings({"KEYTURN_EMAIL_FROM": "no-reply@Straße.example"})
    providers = [
        Smtp(some_settings(smtp_url=relay.url)),
        SendGrid(some_settings(sendgrid_api_url=stub.url)),
        Outbox(Channel.EMAIL, tmp_path),
    ]
    sender = f"no-reply@{SHARP_ASCII}"

    for provider in providers:
        worker = some_delivery_services(fake_client, provider, email_from=settings.email_from)
        worker.deliver(worker.record())
        provider.close()

    payload, entry = stub.requests[0].json, read_outbox(tmp_path)[0]
    assert said(relay, "mail") == [f"FROM:<{sender}>"]
    assert f"<{sender}>\r\n".encode() in relay.mails[0]
    assert payload["from"]["email"] == sender
    assert entry["headers"]["From"] == f"Acme <{sender}>"
    message_ids = [
        email.message_from_bytes(relay.mails[0])["Message-ID"],
        payload["headers"]["Message-ID"],
        entry["headers"]["Message-ID"],
    ]
    assert all(each.endswith(f"@{SHARP_ASCII}>") for each in message_ids)


def test_both_forms_of_a_domain_are_one_address_and_its_neighbour_is_another(fake_client):
    services = some_delivery_services(fake_client).services
    store: SuppressionStore = services.suppressions
    store.add(Recipient(Channel.EMAIL, f"Ada@{SHARP}"), reason="bounce", source="smtp")

    for same in (SHARP, SHARP_ASCII, "Straße。EXAMPLE", "STRAẞE.example", f"{SHARP}."):
        assert store.find(Recipient(Channel.EMAIL, f"ada@{same}")), same
    assert not store.find(Recipient(Channel.EMAIL, "ada@strasse.example"))


@pytest.mark.parametrize("address", ["Ada@Example.com", "jörg@example.com", f"ada@{SHARP}"])
def test_a_digest_made_before_is_found(fake_client, address):
    services = some_delivery_services(fake_client).services
    former = services.digests.digest("recipient", f"email:{address.lower()}")

    assert services.suppressions.digest(Recipient(Channel.EMAIL, address)) == former


@pytest.mark.parametrize("other", ["strasse.example", "βόλοσ.example"])
def test_a_search_by_address_finds_the_user_of_that_domain_alone(fake_client, other):
    services = some_delivery_services(fake_client).services
    own = SHARP if other.startswith("s") else "βόλος.example"
    a_user(services, "own", email=f"eve@{own}")
    a_user(services, "other", email=f"eve@{other}")

    def found(domain):
        return [u.user_id for u in services.directory.find_users_by_address(f"EVE@{domain}")]

    ascii_form = dict(DOMAINS)[own]
    assert found(own) == found(ascii_form) == ["own"]
    assert found(other) == ["other"]


@pytest.mark.parametrize(
    ("variable", "field", "value", "right"),
    [
        ("KEYTURN_PUBLIC_URL", "public_url", f"https://{SHARP}:8443/x/", f"https://{SHARP_ASCII}:8443/x"),
        ("KEYTURN_SENDGRID_API_URL", "sendgrid_api_url", f"https://{SHARP}", f"https://{SHARP_ASCII}"),
        ("KEYTURN_PUBLIC_URL", "public_url", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("KEYTURN_SMTP_EHLO_NAME", "smtp_ehlo_name", SHARP, SHARP_ASCII),
    ],
)  # fmt: skip
def test_a_setting_leads_to_the_host_that_was_meant(variable, field, value, right):
    assert getattr(load_settings({variable: value}), field) == right


def test_a_relays_name_is_the_one_that_was_meant():
    assert Smtp(some_settings(smtp_url=f"smtp://u:p@{SHARP}"))._relay.host == SHARP_ASCII


# ---- EHLO


def ehlo_names(relay, **settings):
    Smtp(some_settings(smtp_url=relay.url, **settings)).send(a_mail())
    return set(said(relay, "ehlo"))


def test_the_host_of_the_public_url_is_said_to_relays(relay):
    assert ehlo_names(relay, public_url="https://reset.example.com:8443/x") == {"reset.example.com"}


@pytest.mark.parametrize(
    "name", ["mail.example.org", "relay-client", "[192.0.2.1]", "[IPv6:2001:db8::1]"]
)
def test_a_name_that_was_set_is_said_instead(relay, name):
    settings = load_settings(
        {"KEYTURN_SMTP_EHLO_NAME": name, "KEYTURN_PUBLIC_URL": "https://reset.example.com"}
    )

    names = ehlo_names(
        relay, smtp_ehlo_name=settings.smtp_ehlo_name, public_url=settings.public_url
    )

    assert names == {name}


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:8080", "http://localhost:8080", "https://[2001:db8::1]"]
)
def test_an_address_of_the_public_url_is_no_name(relay, url, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "bare")

    assert ehlo_names(relay, public_url=url) == {"[127.0.0.1]"}


@pytest.mark.parametrize(
    "name",
    ["a b", "-x.example", "x..example", "x.example\r\nMAIL FROM:<a>", "127.0.0.1", "[127.0.0.256]",
     "[::1]", "[IPv6:127.0.0.1.1]", "[x]", "a_b.example", "x" * 64 + ".example", "é" * 70],
)  # fmt: skip
def test_a_name_that_no_relay_could_take_is_refused(name):
    with pytest.raises(SettingsError, match="KEYTURN_SMTP_EHLO_NAME"):
        load_settings({"KEYTURN_SMTP_EHLO_NAME": name})


class Names:
    """Notes the name of each EHLO."""

    def __init__(self):
        self.said = []

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses):  # noqa: N802
        self.said.append(hostname)
        session.host_name = hostname
        return responses


def test_the_name_is_said_again_after_starttls(open_until_the_end):
    authority, names = trustme.CA(), Names()
    tls = server_context(authority)
    controller = Controller(names, hostname="127.0.0.1", port=0, tls_context=tls)
    controller._trigger_server = lambda: socket.create_connection(at(controller)).close()
    controller.start()
    open_until_the_end.callback(controller.stop)
    url = f"smtp://127.0.0.1:{at(controller)[1]}"
    settings = some_settings(smtp_url=url, public_url="https://reset.example.com")

    Smtp(settings, tls=client_context(authority)).send(a_mail())

    assert names.said == ["reset.example.com"] * 2


def at(controller):
    return controller.server.sockets[0].getsockname()


# ---- what a route lacks


PLAIN = {"EHLO": "250-stub\r\n250 8BITMIME"}
ACCENTED = "jörg@people.test"


@pytest.fixture
def plain(open_until_the_end):
    """A provider whose relay takes ASCII addresses only."""
    relay = open_until_the_end.enter_context(RelayStub(PLAIN))
    return Smtp(some_settings(smtp_url=relay.url))


def delivered(worker, **fields):
    """A reset whose every attempt was made."""
    reset_id = worker.record(**fields)
    worker.deliver(reset_id)
    while not worker.look(reset_id).status.is_final:
        worker.again(reset_id)
    return reset_id


def explained(worker, reset_id):
    now = worker.services.dues.now()
    return diagnose(Evidence(now=now, user_id="ada", reset=worker.look(reset_id))).text


def test_an_address_the_first_relay_cannot_write_to_goes_by_the_next(fake_client, plain, stub):
    second = SendGrid(some_settings(sendgrid_api_url=stub.url))
    worker = some_delivery_services(fake_client, plain, second)
    a_user(worker.services, email=ACCENTED)

    reset_id = worker.record()
    worker.deliver(reset_id)
    assert worker.look(reset_id).status is Status.RETRYING
    assert "Another provider is next" in explained(worker, reset_id)
    assert worker.wait_seconds(reset_id) <= 0
    assert worker.services.hints.published[-1].about == reset_id

    worker.again(reset_id)
    assert worker.look(reset_id).status is Status.ACCEPTED
    assert worker.carriers(reset_id) == ["smtp", "sendgrid"]
    assert stub.requests[0].json["personalizations"][0]["to"] == [{"email": ACCENTED}]
    second.close()


def test_it_fails_when_no_route_can_and_explain_names_them(fake_client, plain, stub):
    stub.answers(Answer.of_json(400, {"errors": [{"message": "no", "field": None}]}))
    second = SendGrid(some_settings(sendgrid_api_url=stub.url))
    worker = some_delivery_services(fake_client, plain, second)
    a_user(worker.services, email=ACCENTED)

    reset_id = delivered(worker)

    text = explained(worker, reset_id)
    assert worker.look(reset_id).status is Status.FAILED
    assert worker.carriers(reset_id) == ["smtp", "sendgrid"]
    assert "smtp: the relay takes ASCII addresses only" in text
    assert "sendgrid: SendGrid takes ASCII addresses only" in text
    assert not worker.services.suppressions.find(Recipient(Channel.EMAIL, ACCENTED))
    second.close()


def test_the_order_of_three_passes_by_who_cannot(fake_client, plain):
    third = ScriptedProvider(name="p3")
    second = ScriptedProvider(TransientProviderError("http_503", "busy"), name="p2")
    worker = some_delivery_services(fake_client, plain, second, third)
    a_user(worker.services, email=ACCENTED)

    reset_id = delivered(worker)

    assert worker.carriers(reset_id)[0] == "smtp"
    assert "smtp" not in worker.carriers(reset_id)[1:]
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_it_waits_for_the_route_that_can_while_that_is_left_alone(fake_client, plain):
    second = ScriptedProvider(name="p2")
    worker = some_delivery_services(fake_client, plain, second)
    a_user(worker.services, email=ACCENTED)
    worker.services.circuits.record("p2", CallTally(bad=1, account=1, is_outage=True, reason="x"))
    delivery = worker.delivery
    delivery.health.refresh()
    reset_id = worker.record()

    delivery.deliver(reset_id)
    worker.stores.make_due(reset_id)
    delivery.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason) == (Status.RETRYING, "circuit_open")
    assert worker.carriers(reset_id) == ["smtp"]


def test_what_the_recipient_refuses_is_tried_by_no_other(fake_client, open_until_the_end):
    relay = open_until_the_end.enter_context(RelayStub({"RCPT": "550 5.7.1 not from you"}))
    second = ScriptedProvider(name="p2")
    worker = some_delivery_services(fake_client, Smtp(some_settings(smtp_url=relay.url)), second)

    reset_id = delivered(worker)

    assert worker.look(reset_id).status is Status.FAILED
    assert second.messages == []


def test_a_mail_too_large_for_a_relay_is_not_written_to_it(fake_client, open_until_the_end):
    relay = open_until_the_end.enter_context(RelayStub({"EHLO": "250-stub\r\n250 SIZE 1000"}))
    second = ScriptedProvider(name="p2")
    worker = some_delivery_services(fake_client, Smtp(some_settings(smtp_url=relay.url)), second)

    reset_id = delivered(worker)

    assert relay.mails == []
    assert len(second.messages) == 1
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_in_a_batch_such_an_address_goes_alone_and_then_by_the_next(fake_client, stub):
    stub.answers(Answer.of_json(202, {}))
    first = SendGrid(some_settings(sendgrid_api_url=stub.url))
    second = ScriptedProvider(name="p2")
    worker = some_delivery_services(fake_client, first, second)
    a_user(worker.services, "jo", email=ACCENTED)
    ids = [worker.record(), worker.record("jo")]

    worker.bulk_delivery().deliver(ids)
    assert [worker.look(each).reason for each in ids] == [None, "goes_alone"]

    stub.answers(Answer.of_json(400, {"errors": [{"message": "no", "field": None}]}))
    worker.again(ids[1])
    worker.again(ids[1])
    assert worker.carriers(ids[1]) == ["sendgrid", "p2"]
    assert worker.look(ids[1]).status is Status.ACCEPTED
    first.close()


# ---- encoded words


def head_of(raw):
    return raw.split(b"\r\n\r\n")[0].decode()


def check_head(subject, name):
    """Every encoded word is short, and readable by itself; the whole gives back what was meant."""
    mail = a_mail(
        subject=subject, from_name=name, message_id=f"<{'0123456789abcdef' * 6}@x.example>"
    )
    raw = format_mime(mail, recipient="ada@example.com", at=datetime(2026, 5, 4, tzinfo=UTC))

    head = head_of(raw)
    for line in head.split("\r\n"):
        words = WORD.findall(line)
        assert all(len(word) <= 75 for word in words)
        assert not words or len(line) <= 76
        assert len(line) <= 78 or line.startswith("Message-ID: ")
        for word in words:
            content, charset = decode_header(word)[0]
            content.decode(charset)
    got = email.message_from_bytes(raw, policy=modern)
    assert got["Subject"] == one_line(subject)
    assert [each.addr_spec for each in got["From"].addresses] == [mail.from_address]
    assert f"Message-ID: {mail.message_id}\r\n" in head + "\r\n"
    shown = head.partition("From: ")[2].partition("\r\nTo:")[0].rpartition("<")[0].strip()
    if "=?" in shown:
        # Python 3.11 reads blanks between the encoded words of a name (not of a subject).
        assert str(make_header(decode_header(shown))) == one_line(name)
    else:
        assert got["From"].addresses[0].display_name.split() == one_line(name).split()


SIGNS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=' ab,;"\\().<>@üß=?_', max_size=150),
    st.text(alphabet=" a日本語한국👩‍", max_size=120),
    st.text(alphabet="x y", max_size=300),
)


@given(SIGNS, SIGNS)
@example("x" * 300, "y" * 300)
@example("a" * 60 + " ü", "=?utf-8?q?x?=")
def test_any_subject_and_name_come_back_from_a_head_within_the_limits(subject, name):
    check_head(subject, name)


@pytest.mark.parametrize("name", LONG_NAMES)
def test_a_long_name_does_too(name):
    check_head(f"{name}: Passwort zurücksetzen", name)


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "pt", "ar", "he", "ja", "uk"])
@pytest.mark.parametrize("name", LONG_NAMES[:3])
def test_a_long_organisation_does_in_every_language(fake_client, relay, language, name):
    settings = some_settings(smtp_url=relay.url)
    worker = some_delivery_services(fake_client, Smtp(settings), email_from_name=name)
    worker.services.callers.save_organisation(Organisation("acme", name, language))
    worker.deliver(worker.record())

    head = head_of(relay.mails[0])
    assert all(len(word) <= 75 for word in WORD.findall(head))
    assert all(len(line) <= 76 for line in head.split("\r\n") if "=?" in line)
    assert name in email.message_from_bytes(relay.mails[0], policy=modern)["Subject"]
