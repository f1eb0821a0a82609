from __future__ import annotations

from urllib.parse import quote

import pytest

from shared.models import Channel, Recipient
from shared.settings import TwilioAccount
from tests.support.builders import a_user
from tests.support.wire import BARE, V1, Wire, problem

SMS = {"type": "TYPE_SMS"}
UNKNOWN = (400, 9, "COMMAND-Hj9ds")
NO_RECIPIENT = (400, 9, "KEYTURN-NoRecipient")
COUNTRY = (400, 9, "KEYTURN-CountryNotAllowed")
SUPPRESSED = (400, 9, "KEYTURN-Suppressed")
PROVIDER_PAUSED = (503, 14, "KEYTURN-NoProvider")


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        pytest.param({"orgId": "beta"}, b"", UNKNOWN, id="in another organisation"),
        pytest.param({"state": "initial"}, b"", (400, 9, "COMMAND-2M9sd"), id="initial"),
        pytest.param({"kind": "machine"}, b"", (400, 9, "KEYTURN-NotHuman"), id="machine"),
        pytest.param({"state": "inactive"}, b"", (400, 9, "KEYTURN-Inactive"), id="deactivated"),
        pytest.param({"state": "locked"}, b"", (400, 9, "KEYTURN-Inactive"), id="locked"),
        pytest.param({"emailVerified": False}, b"", NO_RECIPIENT, id="unverified e-mail"),
        pytest.param({"email": None}, b"", NO_RECIPIENT, id="no e-mail"),
        pytest.param({"phoneVerified": False}, SMS, NO_RECIPIENT, id="unverified phone"),
        pytest.param({"phone": None}, SMS, NO_RECIPIENT, id="no phone"),
    ],
)
def test_a_user_who_may_not_is_told_why(wire, fields, body, expected):
    a_user(wire.services, "eve", **fields)

    response = wire.reset("eve", body=body)

    assert problem(response) == expected
    assert wire.records() == []
    assert wire.hints.published == []


def test_an_unknown_user_is_told_in_zitadels_shape(wire):
    body = wire.reset("nobody").get_json()

    assert body == {
        "code": 9,
        "message": "User could not be found (COMMAND-Hj9ds)",
        "details": [
            {
                "@type": "type.googleapis.com/zitadel.v1.ErrorDetail",
                "id": "COMMAND-Hj9ds",
                "message": "User could not be found",
            }
        ],
    }


def test_a_removed_user_is_unknown(wire):
    wire.redis.delete("kt:user:ada")

    assert problem(wire.reset()) == UNKNOWN


@pytest.mark.parametrize(("body", "channel"), [(b"", "email"), (SMS, "sms")])
def test_unverified_addresses_are_taken_when_the_setting_says_so(fake_client, body, channel):
    wire = Wire(fake_client, allow_unverified=True)
    a_user(wire.services, "eve", emailVerified=False, phoneVerified=False)

    assert wire.channel_of(wire.reset("eve", body=body)) == channel


def test_the_address_of_another_channel_does_not_help(wire):
    a_user(wire.services, "eve", phone=None)

    assert problem(wire.reset("eve", body=SMS)) == NO_RECIPIENT
    assert wire.reset("eve").status_code == 200


@pytest.mark.parametrize(
    ("phone", "countries", "expected"),
    [
        ("+41791234567", ("CH", "DE"), None),
        ("+4915112345678", ("CH", "DE"), None),
        ("+4915112345678", ("CH",), COUNTRY),
        ("+12025550123", ("CH",), COUNTRY),
        ("+12025550123", ("US",), None),
        ("+870773111632", ("CH",), COUNTRY),
    ],
)
def test_an_sms_goes_to_allowed_regions_alone(fake_client, phone, countries, expected):
    wire = Wire(fake_client, sms_countries=countries)
    a_user(wire.services, "eve", phone=phone)

    response = wire.reset("eve", body=SMS)

    assert (problem(response) if expected else None) == expected
    assert response.status_code == (400 if expected else 200)


@pytest.mark.parametrize(
    ("providers", "phone", "expected"),
    [
        (("twilio", "twilio-2"), "+41791234567", None),
        (("twilio", "twilio-2"), "+4915112345678", None),
        (("twilio", "twilio-2"), "+12025550123", COUNTRY),
        (("twilio",), "+4915112345678", COUNTRY),
    ],
)
def test_an_sms_goes_to_the_regions_of_the_senders_in_use(fake_client, providers, phone, expected):
    wire = Wire(
        fake_client,
        sms_providers=providers,
        twilio_accounts=(
            TwilioAccount(account_sid="AC1", from_="+41791111111"),
            TwilioAccount(provider="twilio-2", account_sid="AC2", from_="+4915111111111"),
        ),
    )
    a_user(wire.services, "eve", phone=phone)

    response = wire.reset("eve", body=SMS)

    assert (problem(response) if expected else None) == expected


def test_the_region_of_a_phone_does_not_stop_a_mail(fake_client):
    wire = Wire(fake_client, sms_countries=("CH",))
    a_user(wire.services, "eve", phone="+12025550123")

    assert wire.reset("eve").status_code == 200


@pytest.mark.parametrize(
    ("body", "recipient"),
    [
        (b"", Recipient(Channel.EMAIL, "ada@example.com")),
        (b"", Recipient(Channel.EMAIL, "ADA@example.com")),
        (SMS, Recipient(Channel.SMS, "+41791234567")),
    ],
    ids=["e-mail", "e-mail in another case", "phone"],
)
def test_a_suppressed_address_is_not_written_to_until_it_is_lifted(wire, body, recipient):
    wire.services.suppressions.add(recipient, reason="bounce", source="sendgrid")

    assert problem(wire.reset(body=body)) == SUPPRESSED

    wire.services.suppressions.lift(recipient)
    assert wire.reset(body=body).status_code == 200


def test_a_suppressed_mail_address_leaves_the_phone_alone(wire):
    suppressed = Recipient(Channel.EMAIL, "ada@example.com")
    wire.services.suppressions.add(suppressed, reason="bounce", source="sendgrid")

    assert wire.channel_of(wire.reset(body=SMS)) == "sms"


@pytest.mark.parametrize(
    ("settings", "body", "expected"),
    [
        ({"email_providers": ()}, b"", PROVIDER_PAUSED),
        ({"email_providers": ()}, SMS, None),
        ({"sms_providers": ()}, SMS, PROVIDER_PAUSED),
        ({"sms_providers": ()}, b"", None),
    ],
    ids=["e-mail without", "sms with", "sms without", "e-mail with"],
)
def test_a_channel_needs_a_provider(fake_client, settings, body, expected):
    wire = Wire(fake_client, **settings)

    response = wire.reset(body=body)

    assert response.status_code == (503 if expected else 200)
    assert (problem(response) if expected else None) == expected


FOUND = {
    "plain": "ada-1_2.3~4",
    "blanks": " ada lovelace ",
    "quotes": '"ada" \'o`',
    "braces": "{kt:gate}",
    "percent": "100%25",
    "plus": "a+b",
    "mail": "ada@example.com",
    "emoji": "🎉👍",
    "umlauts": "äöü",
    "right to left": "אבג",
    "combining": "e\u0301",
    "markup": "<b>&amp;",
    "back slash": "a\\b",
    "glob": "*?[a]",
    "question mark": "a?b=c#d",
    "semicolon": "a;b",
    "dots": "...",
    "200 characters": "a" * 200,
    "200 emoji": "🎉" * 200,
}


@pytest.mark.parametrize("user_id", FOUND.values(), ids=FOUND)
@pytest.mark.parametrize("path", [V1, BARE], ids=["prefixed", "bare"])
def test_a_user_is_found_by_any_printable_id(wire, path, user_id):
    a_user(wire.services, user_id)

    response = wire.reset(quote(user_id, safe=""), path=path)

    assert response.status_code == 200
    assert wire.show(response.headers["Keyturn-Reset-Id"]).get_json()["userId"] == user_id
    assert response.headers["Link"].isascii()


STRANGE = {
    "201 characters": ("a" * 201, (400, 3, None)),
    "201 emoji": ("🎉" * 201, (400, 3, None)),
    "line feed": ("ada\n", UNKNOWN),
    "carriage return": ("ada\r\nX-Evil: 1", UNKNOWN),
    "nought": ("ada\0", UNKNOWN),
    "escape": ("\x1b[31m", UNKNOWN),
    "delete": ("\x7f", UNKNOWN),
    "zero width": ("ada\u200b", UNKNOWN),
    "another case": ("Ada", UNKNOWN),
    "blank in front": (" ada", UNKNOWN),
}


@pytest.mark.parametrize(("user_id", "expected"), STRANGE.values(), ids=STRANGE)
def test_a_strange_id_is_nobodys(wire, user_id, expected):
    response = wire.reset(quote(user_id, safe=""))

    assert problem(response) == expected
    assert "X-Evil" not in response.headers
    assert wire.records() == []


def test_bytes_that_are_no_text_are_nobodys_id(wire):
    assert problem(wire.reset("%ff%fe")) == UNKNOWN
    assert problem(wire.reset("%ed%a0%80")) == UNKNOWN


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("de", "Der Benutzer wurde nicht gefunden"),
        ("de-CH, en;q=0.5", "Der Benutzer wurde nicht gefunden"),
        ("tlh, de;q=0.3", "Der Benutzer wurde nicht gefunden"),
        ("en, de;q=0.9", "User could not be found"),
        ("tlh", "User could not be found"),
        ("", "User could not be found"),
        ("*", "User could not be found"),
        ("de;q=x, fr;q=0", "User could not be found"),
        ("-" * 5000, "User could not be found"),
        (",;,;q=,", "User could not be found"),
    ],
)
def test_a_message_follows_the_language_of_the_caller(wire, language, message):
    body = wire.reset("nobody", Accept_Language=language).get_json()

    assert body["details"][0]["message"] == message
    assert body["message"] == f"{message} (COMMAND-Hj9ds)"


@pytest.mark.parametrize("language", ["fr", "es", "pt", "pt-AO", "pl", "ar", "zh-TW"])
def test_every_language_has_its_own_words_and_the_same_id(wire, language):
    english, translated = wire.reset("nobody"), wire.reset("nobody", Accept_Language=language)

    assert problem(translated) == problem(english)
    assert translated.get_json()["message"] != english.get_json()["message"]
