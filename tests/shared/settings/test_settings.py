"""What is set and cannot be had is refused at start, not ignored."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.errors import SettingsError
from shared.settings import load_settings
from tests.support.callback_builders import SendGridKey

RSA_KEY = base64.b64encode(
    rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def test_a_durability_nobody_knows_is_refused():
    with pytest.raises(SettingsError, match="KEYTURN_DURABILITY: must be memory or replica"):
        load_settings({"KEYTURN_DURABILITY": "tape"})


def test_a_lease_that_ends_within_a_call_is_refused():
    with pytest.raises(SettingsError, match="KEYTURN_LEASE_SECONDS must exceed"):
        load_settings({"KEYTURN_LEASE_SECONDS": "15"})


def test_the_short_lives_of_tests_are_taken():
    settings = load_settings(
        {
            "KEYTURN_LEASE_SECONDS": "10",
            "KEYTURN_PROVIDER_TIMEOUT_SECONDS": "3",
            "KEYTURN_DOUBT_SECONDS": "5",
            "KEYTURN_CODE_LIFETIME_SECONDS": "4",
        }
    )

    assert settings.lease_seconds == 10


GATEWAY = {
    "KEYTURN_HTTP_URL": "https://gateway.example/send",
    "KEYTURN_HTTP_SECRET": f"whsec_{'A' * 32},whsec_{'B' * 44}",
}


def test_a_gateway_is_known_by_its_provider():
    settings = load_settings(
        GATEWAY | {"KEYTURN_SMS_PROVIDERS": "http", "KEYTURN_SMS_COUNTRIES": "CH"}
    )

    (gateway,) = settings.gateways
    assert (gateway.provider, gateway.url) == ("http", "https://gateway.example/send")
    assert gateway.secret == (f"whsec_{'A' * 32}", f"whsec_{'B' * 44}")
    assert "whsec_" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({"KEYTURN_EMAIL_PROVIDERS": "sendgrid"}, "KEYTURN_SENDGRID_API_KEY"),
        ({"KEYTURN_EMAIL_PROVIDERS": "outbox,smtp"}, "KEYTURN_SMTP_URL"),
        ({"KEYTURN_SMS_PROVIDERS": "twilio"}, "KEYTURN_TWILIO_ACCOUNT_SID"),
        ({"KEYTURN_SMS_PROVIDERS": "twilio-2"}, "KEYTURN_TWILIO_2_ACCOUNT_SID"),
        (
            {"KEYTURN_SMS_PROVIDERS": "twilio-2", "KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2"},
            "KEYTURN_TWILIO_2_API_KEY_SID and _SECRET, or _AUTH_TOKEN",
        ),
        ({"KEYTURN_SMS_PROVIDERS": "twilio,twilio-1"}, "must list each of twilio, twilio-2"),
        ({"KEYTURN_TWILIO_3_FROM": "+999x"}, "KEYTURN_TWILIO_3_FROM: must be a phone number"),
        (
            {"KEYTURN_SMS_PROVIDERS": "twilio,twilio2"},
            "twilio2 is now called twilio-2; its settings begin with KEYTURN_TWILIO_2_",
        ),
        (
            {"KEYTURN_TWILIO2_AUTH_TOKEN": "x"},
            "KEYTURN_TWILIO2_AUTH_TOKEN is now called KEYTURN_TWILIO_2_AUTH_TOKEN",
        ),
        (
            {"KEYTURN_TWILIO2_AUTH_TOKEN_FILE": "/x"},
            "KEYTURN_TWILIO2_AUTH_TOKEN_FILE is now called KEYTURN_TWILIO_2_AUTH_TOKEN_FILE",
        ),
        ({"KEYTURN_EMAIL_PROVIDERS": "pigeon"}, "must list each of sendgrid, smtp, http, http-2"),
        ({"KEYTURN_EMAIL_PROVIDERS": "http"}, "KEYTURN_HTTP_URL"),
        ({"KEYTURN_SMS_PROVIDERS": "http-2"}, "KEYTURN_HTTP_2_URL"),
        (GATEWAY | {"KEYTURN_SMS_PROVIDERS": "http"}, "set KEYTURN_SMS_COUNTRIES"),
        (
            {"KEYTURN_EMAIL_PROVIDERS": "http", "KEYTURN_HTTP_URL": "https://g.example/send"},
            "KEYTURN_HTTP_SECRET",
        ),
        ({"KEYTURN_HTTP_URL": "http://g.example/send"}, "KEYTURN_HTTP_URL: must begin with https"),
        ({"KEYTURN_HTTP_URL": "ftp://g.example"}, "KEYTURN_HTTP_URL: must look like https"),
        ({"KEYTURN_HTTP_3_SECRET": "hush"}, "KEYTURN_HTTP_3_SECRET: must be whsec_"),
        ({"KEYTURN_HTTP_SECRET": "whsec_AAAA"}, "KEYTURN_HTTP_SECRET: must be whsec_ and 24"),
        ({"KEYTURN_HTTP_SECRET": "whsec_" + "A" * 100}, "KEYTURN_HTTP_SECRET: must be whsec_"),
        ({"KEYTURN_HTTP_SECRET": "A" * 44}, "KEYTURN_HTTP_SECRET: must be whsec_"),
        ({"KEYTURN_HTTP_1_URL": "https://g.example"}, "KEYTURN_HTTP_1_URL is no setting"),
        ({"KEYTURN_SECRET_KEYS": "short"}, "at least 32 printable characters"),
        ({"KEYTURN_SENDGRID_API_URL": "http://mail.example"}, "must begin with https"),
        ({"KEYTURN_SMS_COUNTRIES": "CH,XX"}, "XX is no region"),
        ({"KEYTURN_SMS_PRICES": "CH=free"}, "must look like CH=0.07"),
        ({"KEYTURN_SMS_PRICES": "XX=1"}, "XX is no region"),
        ({"KEYTURN_SMS_PRICES": "CH=1,ch=2"}, "names CH twice"),
        ({"KEYTURN_SMS_PRICES": "CH=-1"}, "must look like CH=0.07"),
        ({"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY": "no base64!"}, "must be the verification key"),
        ({"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY": "AAAA"}, "must be the verification key"),
        ({"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY": RSA_KEY}, "must be an elliptic curve key"),
        ({"KEYTURN_EMAIL_ON_DOUBT": "guess"}, "must be resend or hold"),
        ({"KEYTURN_FLOWER_BASIC_AUTH": "operator"}, "must look like operator:password"),
        ({"KEYTURN_FLOWER_BASIC_AUTH": "operator:short"}, "at least 12 characters"),
        ({"KEYTURN_FLOWER_BASIC_AUTH": "operator:pässwörter-lang"}, "in ASCII"),
        ({"KEYTURN_FLOWER_HOSTS": "https://queues.example/"}, "KEYTURN_FLOWER_HOSTS"),
        ({"KEYTURN_PORT": "70000"}, "must be a port"),
        ({"KEYTURN_SENDGRID_API_KEY_FILE": "/nonexistent"}, "cannot be read"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(environ, missing):
    with pytest.raises(SettingsError, match=missing):
        load_settings(environ)


def test_prices_are_read_by_region():
    settings = load_settings({"KEYTURN_SMS_PRICES": "CH=0.07, de=0.08,*=0.10"})

    assert dict(settings.sms_prices) == {"CH": 0.07, "DE": 0.08, "*": 0.1}


def test_a_secret_stands_in_no_repr(tmp_path):
    (tmp_path / "key").write_text("SG.very-secret\n")

    settings = load_settings({"KEYTURN_SENDGRID_API_KEY_FILE": str(tmp_path / "key")})

    assert settings.sendgrid_api_key == "SG.very-secret"
    assert "very-secret" not in repr(settings)


def test_each_twilio_account_is_known_by_its_provider(tmp_path):
    (tmp_path / "token").write_text("second-secret\n")
    settings = load_settings(
        {
            "KEYTURN_TWILIO_ACCOUNT_SID": "AC1",
            "KEYTURN_TWILIO_AUTH_TOKEN": "first-secret",
            "KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2",
            "KEYTURN_TWILIO_2_AUTH_TOKEN_FILE": str(tmp_path / "token"),
            "KEYTURN_TWILIO_9_ACCOUNT_SID": "AC9",
            "KEYTURN_TWILIO_9_API_KEY_SECRET": "ninth-secret",
        }
    )

    told = {each.provider: (each.account_sid, each.auth_token) for each in settings.twilio_accounts}

    assert told == {
        "twilio": ("AC1", ("first-secret",)),
        "twilio-2": ("AC2", ("second-secret",)),
        "twilio-9": ("AC9", ()),
    }
    assert "-secret" not in repr(settings)
    assert settings.twilio_account("twilio-9").api_key_secret == "ninth-secret"


def test_the_order_of_accounts_is_the_order_of_the_providers():
    fields = {"ACCOUNT_SID": "AC1", "AUTH_TOKEN": "x", "FROM": "+41790000000"}
    accounts = {
        f"KEYTURN_TWILIO_{number}{fact}": value
        for number in ("", "2_", "3_")
        for fact, value in fields.items()
    }

    settings = load_settings(accounts | {"KEYTURN_SMS_PROVIDERS": "twilio-3, twilio"})

    assert settings.sms_providers == ("twilio-3", "twilio")
    assert [each.provider for each in settings.twilio_accounts] == [
        "twilio", "twilio-2", "twilio-3",
    ]  # fmt: skip


def test_a_refusal_repeats_no_secret():
    environ = {"KEYTURN_TWILIO2_AUTH_TOKEN": "former-secret", "KEYTURN_SMS_PROVIDERS": "twilio-2"}

    with pytest.raises(SettingsError) as former:
        load_settings(environ)
    with pytest.raises(SettingsError) as incomplete:
        load_settings({"KEYTURN_TWILIO_2_AUTH_TOKEN": "a-secret", **dict([*environ.items()][1:])})

    assert "-secret" not in f"{former.value}{incomplete.value}"


def test_an_account_without_an_id_is_none():
    assert load_settings({"KEYTURN_TWILIO_AUTH_TOKEN": "x"}).twilio_accounts == ()


def test_a_webhook_key_is_taken_as_it_stands_and_in_pem():
    key = SendGridKey().public
    pem = f"-----BEGIN PUBLIC KEY-----\n{key[:64]}\n{key[64:]}\n-----END PUBLIC KEY-----\n"

    read = [
        load_settings({"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY": given}) for given in (key, pem, "")
    ]

    assert [each.sendgrid_webhook_public_key for each in read] == [(key,), (key,), ()]


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "127.0.0.1"),
        ({"KEYTURN_HOST": "::1"}, "::1"),
        ({"KEYTURN_HOST": "0.0.0.0"}, "127.0.0.1"),
        ({"KEYTURN_HOST": "10.0.0.5"}, "127.0.0.1"),
        (
            {"KEYTURN_HOST": "0.0.0.0", "KEYTURN_FLOWER_BASIC_AUTH": "eve:a long password"},
            "0.0.0.0",
        ),
    ],
)
def test_flower_listens_beyond_this_machine_if_a_login_was_set_alone(environ, address):
    assert load_settings(environ).flower_host == address


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("", "redis"),
        ("redis://broker:6379/0", "redis"),
        ("rediss://broker", "redis"),
        ("redis+socket:///run/redis.sock", "redis"),
        ("unix:///run/redis.sock", "redis"),
        ("amqp://u:p@mq/vhost", "rabbitmq"),
        ("amqps://u:p@mq1;amqps://u:p@mq2", "rabbitmq"),
        ("sqs://", "sqs"),
        ("sqs://KEY:SECRET@", "sqs"),
        ("none", "none"),
        (" None ", "none"),
    ],
)
def test_a_broker_is_known_by_its_url(url, kind):
    settings = load_settings({"KEYTURN_BROKER_URL": url})

    assert settings.broker_kind == kind
    assert settings.broker_kind.has_events == (kind in ("redis", "rabbitmq"))
    assert url.strip().lower() == "none" or settings.hint_url
    assert "u:p@" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    ["kafka://b", "redis+cluster://a,b", "broker:6379", "://", "memory://", "none;redis://b",
     "redis://a;amqp://b", "nones", "amqp:/x"],
)  # fmt: skip
def test_a_broker_nobody_tested_is_refused(url):
    with pytest.raises(SettingsError, match="KEYTURN_BROKER_URL: must look like"):
        load_settings({"KEYTURN_BROKER_URL": url})


URLS = ",".join(
    f"{name}=https://sqs.eu-west-1.amazonaws.com/1/{name}"
    for name in ("urgent", "bulk", "receipts", "webhooks")
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SQS_PREFIX", "a.b"),
        ("SQS_PREFIX", "x" * 61),
        ("SQS_QUEUES", "urgent=https://sqs.eu-west-1.amazonaws.com/1/a"),
        ("SQS_QUEUES", f"{URLS},other=https://sqs.eu-west-1.amazonaws.com/1/b"),
        ("SQS_QUEUES", "urgent,bulk,receipts,webhooks"),
        ("SQS_QUEUES", URLS.replace("urgent", "Urgent")),
    ],
)
def test_queues_that_sqs_or_keyturn_cannot_have_are_refused(name, text):
    with pytest.raises(SettingsError, match=f"KEYTURN_{name}: must"):
        load_settings({f"KEYTURN_{name}": text})


def test_every_queue_at_sqs_is_named():
    assert len(load_settings({"KEYTURN_SQS_QUEUES": URLS}).sqs_queues) == 4
