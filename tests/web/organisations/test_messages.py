"""Preview and test of an organisation's messages, over HTTP and by command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.models import Channel
from shared.organisations.profile import Logo, Palette
from shared.providers.outbox import read_outbox
from shared.store.admin.pauses import Scope
from shared.store.limits import Limit
from tests.support.builders import SECRET, an_organisation
from tests.support.fakes import FakeRedis
from tests.support.pictures import a_png
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.sender_builders import OWN_KEY, SENDGRID, save_sender
from tests.support.wire import Wire
from web.cli import keyturn
from web.organisations.messages import MAX_TESTS, TESTS_WINDOW_SECONDS

ACME = "/keyturn/v1/organisations/acme"
PREVIEW, SEND_TEST = f"{ACME}/preview", f"{ACME}/_send_test"
TO = {"to": "Me@Acme.example", "reason": "new colours"}
BRANDING = {
    "display_name": "Analytical Engines",
    "logo": Logo("image/png", a_png(), 300, 90),
    "light": Palette("#8c145a", "#ffffff", "#8c145a"),
    "help_url": "https://help.example/",
    "postal_line": "Seestrasse 1, 8002 Zürich",
    "reply_to": "help@engines.example",
}


@pytest.fixture
def sendgrid():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def wire(fake_client, tmp_path, sendgrid):
    return a_wire(fake_client, tmp_path, sendgrid.url)


@pytest.fixture(scope="module")
def kept_wire(tmp_path_factory):
    """One for all calls that change nothing."""
    with FakeRedis() as client:
        yield a_wire(client, tmp_path_factory.mktemp("data"), "http://127.0.0.1:9")


def a_wire(client, data_dir, sendgrid_url):
    wire = Wire(
        client,
        email_providers=("outbox",),
        sms_providers=("outbox",),
        data_dir=data_dir,
        email_from_name="Keyturn of Example Inc",
        sms_prices=(("CH", 0.07), ("*", 0.1)),
        sms_currency="CHF",
        sendgrid_api_url=sendgrid_url,
    )
    an_organisation(wire.services)
    return wire


def brand(wire, texts=None, tag="de", **branding):
    profiles = wire.services.profiles
    before = profiles.find("acme").branding
    changed = replace(before, **branding)
    is_new = "logo" in branding
    profiles.save_branding("acme", changed, version=before.version, is_logo_new=is_new)
    if texts:
        profiles.save_text("acme", tag, texts, version=0, by="test", reason="test")


def get(wire, path=PREVIEW, **headers):
    return wire.call(path, method="GET", headers=wire.headers(**headers))


def send(wire, body=TO, path=SEND_TEST):
    return wire.call(path, data=json.dumps(body), headers=wire.headers())


def test_a_mail_is_shown_as_it_would_go_out(wire):
    brand(wire, {"reset.intro": "Neu bei {organisation}."}, **BRANDING)

    shown = get(wire, f"{PREVIEW}?language=de&channel=email").json

    assert shown["subject"] == "Ihr Passwort für Analytical Engines zurücksetzen"
    assert shown["from"].startswith("Analytical Engines <")
    assert shown["replyTo"] == "help@engines.example"
    for part in (shown["text"], shown["html"]):
        assert "Neu bei Analytical Engines." in part
        assert "ABCD-2345" in part
        assert "Ada Lovelace" in part
        assert "Example Inc" not in part
    assert "data:image/png;base64," in shown["html"]
    assert "cid:" not in shown["html"]
    assert (shown["segments"], shown["price"]) == (None, None)
    assert (shown["textVersion"], shown["unfilled"]) == (1, [])


def test_an_sms_is_shown_with_segments_and_price(kept_wire):
    shown = get(kept_wire, f"{PREVIEW}?language=en&channel=sms").json

    assert shown["text"].startswith("Acme: Password code ABCD-2345")
    assert (shown["segments"], shown["encoding"]) == (1, "GSM-7")
    assert (shown["price"], shown["currency"]) == ({"CH": 0.07, "*": 0.1}, "CHF")
    assert (shown["subject"], shown["html"], shown["from"]) == (None, None, None)


def test_more_segments_cost_more(wire):
    brand(wire, {"sms.reset": "Ж" * 130 + " {code} {link}"}, tag="en")

    shown = get(wire, f"{PREVIEW}?language=en&channel=sms").json

    assert shown["encoding"] == "UCS-2"
    assert shown["segments"] >= 3
    assert shown["price"]["*"] == pytest.approx(0.1 * shown["segments"])


def test_without_a_language_it_is_the_organisations_own(wire):
    brand(wire, language="fr")

    assert get(wire).json["language"] == "fr"


@pytest.mark.parametrize(
    ("name", "language", "greeting"),
    [
        ("usual", "en", "Hello Ada Lovelace,"),
        ("long", "en", "Hello Maximiliane Alexandra von Hohenstaufen"),
        ("foreign", "en", "Hello さくら 田中,"),
        ("foreign", "ja", "Ольга Петренко"),
        ("none", "en", "Hello,"),
    ],
)
def test_names_that_are_long_foreign_or_missing_are_tried(kept_wire, name, language, greeting):
    shown = get(kept_wire, f"{PREVIEW}?language={language}&name={name}").json

    assert greeting in shown["text"]
    assert shown["name"] == name


def test_own_sentences_that_cannot_be_filled_are_named(wire):
    brand(wire, {"reset.intro": "{nothing}", "reset.heading": "Los"})

    shown = get(wire, f"{PREVIEW}?language=de").json

    assert shown["unfilled"] == ["reset.intro"]
    assert wire.services.counters.totals()["text:de:acme"] == 0  # nobody got it


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("channel=fax", "channel: must be one of email, sms"),
        ("channel=", "channel: must be one of email, sms"),
        ("name=bob", "name: must be one of usual, long, foreign, none"),
        ("language=tlh", "language: tlh is not supported; the nearest is"),
        ("language=<script>", "language: <script> is not supported"),
        ("lang=de", "lang"),
    ],
)
def test_what_cannot_be_shown_is_named(kept_wire, query, words):
    answer = get(kept_wire, f"{PREVIEW}?{query}")

    assert answer.status_code == 400
    assert words in answer.json["message"]


def test_all_messages_and_the_page_are_one_page_for_a_browser(wire):
    brand(wire, **BRANDING)

    answer = get(wire, f"{PREVIEW}?language=en", Accept="text/html,*/*;q=0.8")

    page = answer.get_data(as_text=True)
    assert answer.mimetype == "text/html"
    frames = re.findall(r'<iframe title="(.*?)" sandbox=""', page)
    kinds = ["Light", "Dark", "Phone"]
    assert frames == [f"Mail: {k}" for _ in range(4) for k in kinds] + [f"Page: {k}" for k in kinds]
    assert page.count("<iframe") == len(frames)
    for words in ("さくら", "Maximiliane", "Hello,", "1 segment ·", "CH 0.07 CHF", "elsewhere 0.1"):
        assert words in page
    assert page.count("prefers-color-scheme") == 1  # of the page around the frames
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html;q=0.5, */*", ""])
def test_others_get_json(kept_wire, accept):
    assert get(kept_wire, Accept=accept).mimetype == "application/json"


def test_hostile_names_are_only_words_on_the_page_too(wire):
    brand(wire, **BRANDING | {"display_name": '"><script>alert(1)</script>'})

    page = get(wire, Accept="text/html").get_data(as_text=True)

    assert "<script>alert" not in page


def test_a_test_goes_the_way_of_a_message(wire, tmp_path):
    brand(wire, **BRANDING)

    answer = send(wire)

    assert answer.status_code == 200, answer.json
    assert answer.json["isAccepted"] is True
    assert answer.json["recipient"] == "M***@acme.example"
    assert [each["provider"] for each in answer.json["trials"]] == ["outbox"]
    (mail,) = read_outbox(tmp_path)
    assert mail["to"] == "Me@acme.example"
    assert mail["headers"]["From"].startswith("Analytical Engines <")
    assert mail["headers"]["Reply-To"] == "help@engines.example"
    assert "data:image/png;base64," in mail["html"]
    assert "Seestrasse 1" in mail["text"]
    assert "http" not in mail["text"].replace("https://help.example/", "")  # no link, no code
    entry = wire.services.audit.newest(most=1)[0]
    assert (entry.act.action, entry.act.target) == ("organisation.send_test", "acme")
    assert "acme.example" not in repr(entry)


def test_an_sms_is_sent_to_a_number(wire, tmp_path):
    assert send(wire, TO | {"to": "+41 79 123 45 67", "language": "de"}).status_code == 200

    (sms,) = read_outbox(tmp_path)
    assert sms["body"].startswith("Acme: ")


def test_own_accounts_come_first_and_the_next_is_tried_like_for_a_person(wire, sendgrid, tmp_path):
    save_sender(wire.services, {"email": {"sendgrid": SENDGRID, "fallback": True}})
    sendgrid.answers(Answer(401))

    answer = send(wire)

    assert sendgrid.requests[0].headers["authorization"] == f"Bearer {OWN_KEY}"
    trials = [(each["provider"], each["outcome"]) for each in answer.json["trials"]]
    assert trials == [("org:acme:sendgrid", "account"), ("outbox", "accepted")]
    assert len(read_outbox(tmp_path)) == 1
    assert OWN_KEY not in answer.get_data(as_text=True)


def test_without_a_fallback_the_installation_does_not_carry_it(wire, sendgrid, tmp_path):
    save_sender(wire.services, {"email": {"sendgrid": SENDGRID}})
    sendgrid.answers(Answer(401))

    answer = send(wire)

    assert answer.json["isAccepted"] is False
    assert answer.json["trials"][0]["reason"] == "http_401"
    assert read_outbox(tmp_path) == []
    assert wire.services.audit.newest(most=1)[0].outcome == "failed: http_401"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"reason": "why"}, "to"),
        ({"to": "me@acme.example"}, "reason"),
        (TO | {"to": "nobody"}, "to: "),
        (TO | {"to": "a@b@c"}, "to: "),
        (TO | {"to": "a@example.com, b@example.com"}, "to: "),
        (TO | {"to": ""}, "to"),
        (TO | {"to": 7}, "to"),
        (TO | {"reason": " "}, "reason"),
        (TO | {"language": "tlh"}, "language: tlh is not supported"),
        (TO | {"subject": "mine"}, "subject"),
    ],
)
def test_a_test_that_cannot_be_sent_says_why(kept_wire, body, words):
    answer = send(kept_wire, body)

    assert answer.status_code == 400
    assert words in answer.json["message"]
    assert read_outbox(kept_wire.services.settings.data_dir) == []


def test_nothing_goes_to_who_must_not_be_written_to(wire, tmp_path):
    from tests.support.message_builders import EMAIL

    wire.services.suppressions.add(EMAIL, reason="bounce", source="test")

    assert send(wire, TO | {"to": EMAIL.address}).status_code == 400
    assert read_outbox(tmp_path) == []


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.ORGANISATION, "acme"), (Scope.CHANNEL, "email"), (Scope.PROVIDER, "outbox")],
)
def test_what_is_paused_for_people_is_paused_for_a_test(wire, tmp_path, scope, name):
    wire.services.pauses.pause(scope, name, by="bob", reason="a reason")

    answer = send(wire)

    assert answer.status_code == 400
    assert "paused" in answer.json["message"]
    assert read_outbox(tmp_path) == []


def test_an_organisation_has_twenty_tests_an_hour(wire, tmp_path):
    for _ in range(19):
        limit = Limit("test_messages", "acme", MAX_TESTS, TESTS_WINDOW_SECONDS)
        wire.services.limits.count_change([limit], version=-1)
    assert MAX_TESTS == 20

    assert [send(wire).status_code for _ in range(2)] == [200, 429]
    assert len(read_outbox(tmp_path)) == 1


@pytest.fixture
def command(real_client, real_redis_url, tmp_path):
    from shared.wiring import build_services
    from tests.support.builders import a_settings
    from tests.support.fakes import FakeHints

    services = build_services(a_settings(), client=real_client, hints=FakeHints())
    an_organisation(services)
    env = {
        "KEYTURN_SECRET_KEYS": SECRET, "KEYTURN_REDIS_URL": real_redis_url, "BROWSER": "true",
        "KEYTURN_DATA_DIR": str(tmp_path), "KEYTURN_SMS_PRICES": "CH=0.07",
        "KEYTURN_SMS_COUNTRIES": "CH",
        "TMPDIR": str(tmp_path),
    }  # fmt: skip

    def run(*words):
        return CliRunner().invoke(keyturn, ["message", *words], env=env)

    return run


def test_the_command_shows_a_mail_and_an_sms(command):
    mail = command("preview", "--org", "acme", "--language", "de")
    sms = command("preview", "--org", "acme", "--language", "en", "--channel", "sms", "--json")

    assert mail.exit_code == 0, mail.output
    assert "Ihr Passwort für Acme zurücksetzen" in mail.output
    assert "ABCD-2345" in mail.output
    assert json.loads(sms.output)["price"] == {"CH": 0.07}


def test_the_command_writes_a_page(command):
    done = command("preview", "--org", "acme", "--json", "--open")

    assert done.exit_code == 0, done.output
    page = Path(json.loads(done.stdout.splitlines()[-1])["page"])
    assert page.read_text().count("<iframe") == 15
    assert page.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("preview", "--org", "nowhere"), "there is no organisation", 1),
        (("preview", "--org", "acme", "--language", "xx"), "language: xx is not supported", 1),
        (("preview", "--org", "acme", "--channel", "fax"), "'fax' is not one of", 2),
        (("send-test", "--org", "acme", "--to", "x", "--reason", "y"), "to: ", 1),
        (("send-test", "--org", "acme", "--to", "a@acme.example"), "--reason", 2),
    ],
)
def test_the_command_refuses_by_name(command, words, said, status):
    done = command(*words)

    assert done.exit_code == status
    assert said in done.output


def test_the_command_sends_a_test(command, tmp_path):
    done = command("send-test", "--org", "acme", "--to", "me@acme.example", "--reason", "try")

    assert done.exit_code == 0, done.output
    assert "m***@acme.example" in done.output
    assert len(read_outbox(tmp_path)) == 1
    assert read_outbox(tmp_path)[0]["channel"] == Channel.EMAIL
