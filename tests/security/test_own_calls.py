"""What a caller or an operator misspells is refused; what a stranger wrote does not greet."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from shared.errors import SettingsError
from shared.languages import Languages
from shared.messages.rendering import Wording
from shared.models import Organisation, User
from shared.settings import TWILIO_PROVIDERS, load_settings
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from tests.support.builders import SECRET, a_settings, a_token, a_user
from tests.support.wire import problem
from tests.support.wire_v2 import GOOD, WireV2
from web.cli import keyturn

KEYS = {"KEYTURN_SECRET_KEYS": SECRET}


@pytest.fixture
def wire(real_client):
    return WireV2(real_client)


def call(wire, path, body, **headers):
    return wire.call(path, data=json.dumps(body), headers=wire.headers(**headers))


# Tokens end.


@pytest.fixture
def token(real_client, real_redis_url):
    """Makes a token by command; gives its record and what was said."""
    callers = CallerStore(real_client, Digests(real_client, (SECRET,)))
    callers.save_organisation(Organisation("acme", "Acme"))

    def make(*options):
        words = ["token", "add", "--org", "acme", "--role", "ORG_OWNER", *options]
        env = KEYS | {"KEYTURN_REDIS_URL": real_redis_url}
        done = CliRunner().invoke(keyturn, words, env=env)
        assert done.exit_code == 0, done.output
        return callers.list_tokens()[-1], done.stderr

    return make


def test_a_token_ends_in_ninety_days(token):
    record, said = token()

    left = record.expires_at - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90, minutes=1)
    assert f"{record.expires_at:%Y-%m-%d}" in said


@pytest.mark.parametrize(("expires", "days"), [("1d", 1), ("365d", 365)])
def test_a_token_ends_when_it_is_told(token, expires, days):
    record, _ = token("--expires", expires)

    assert record.expires_at - record.created_at == timedelta(days=days)


def test_a_token_lives_for_ever_when_that_is_said(token):
    record, said = token("--expires", "never")

    assert record.expires_at is None
    assert "until it is revoked" in said


def test_a_token_without_an_end_stays_as_it_is(wire):
    assert call(wire, "/keyturn/v1/webhooks", {"url": "https://a.example/"}).status_code == 200


# Unknown fields.

BODIES = [
    ("/keyturn/v1/batches", {"userIds": ["ada"], "dryrun": True}, "dryRun"),
    ("/keyturn/v1/batches", {"userIds": ["ada"], "dry-run": True}, "dryRun"),
    ("/keyturn/v1/batches", {"userIds": ["ada"], "rate": 5}, "ratePerSecond"),
    ("/keyturn/v1/batches", {"userids": ["ada"]}, "userIds"),
    ("/keyturn/v1/batches", {"select": {"stauts": "failed"}}, "select: .*status"),
    ("/keyturn/v1/batches/x/_pause", {"raeson": "x"}, "reason"),
    ("/keyturn/v1/batches/x/_resume", {"ratePerSecond": 5}, "reason"),
    ("/keyturn/v1/batches/x/_cancel", {"reason": "x", "now": True}, "reason"),
    ("/keyturn/v1/pauses", {"scope": "channel", "name": "sms", "until": "y"}, "name"),
    ("/keyturn/v1/pauses/_resume", {"reason": "x", "ratePerSec": 1}, "ratePerSecond"),
    ("/keyturn/v1/limits/_clear", {"limit": "user", "userId": "ada", "reason": "x"}, "id"),
    ("/keyturn/v1/resets/x/_hold", {"reason": "x", "reasons": "y"}, "reason"),
    ("/keyturn/v1/resets/x/_release", {"reson": "y"}, "reason"),
    ("/keyturn/v1/resets/x/_resend", {"typ": "TYPE_SMS"}, "type"),
    ("/keyturn/v1/webhooks", {"url": "https://a.example/", "event": ["reset.failed"]}, "events"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "nearest"), BODIES, ids=lambda each: str(each)[:60])
def test_an_unknown_field_of_our_own_calls_is_refused_with_the_nearest_name(
    wire, path, body, nearest
):
    wire.token = a_token(wire.services, instance=("IAM_OWNER",))

    answer = call(wire, path, body)

    assert problem(answer)[:2] == (400, 3)
    assert re.search(rf"unknown field ?\S*; the nearest is ({nearest.split(': .*')[-1]})$",
                     answer.get_json()["message"])  # fmt: skip
    assert wire.records() == []
    assert wire.services.pauses.all() == []


def test_an_upload_s_misspelled_option_starts_nothing(wire):
    answer = wire.call(
        "/keyturn/v1/batches?dryrun=true",
        data=b"ada\n",
        headers=wire.headers(Content_Type="text/plain"),
    )

    assert problem(answer)[:2] == (400, 3)
    assert "the nearest is dryRun" in answer.get_json()["message"]


@pytest.mark.parametrize("act", ["_replay", "_enable"])
def test_a_call_without_fields_takes_none(wire, act):
    made = call(wire, "/keyturn/v1/webhooks", {"url": "https://a.example/"}).get_json()
    path = f"/keyturn/v1/webhooks/{made['subscriptionId']}/{act}"

    assert problem(call(wire, path, {"webhookId": "x"}))[:2] == (400, 3)
    assert call(wire, path, {}).status_code == 200
    assert wire.call(path, headers=wire.headers()).status_code == 200


def test_the_refusal_repeats_no_address(wire):
    answer = call(wire, "/keyturn/v1/batches", {"eve@evil.example": "x", "userIds": ["ada"]})

    assert problem(answer)[:2] == (400, 3)
    assert "evil" not in answer.get_data(as_text=True)


def test_a_long_unknown_field_is_refused_at_once(wire):
    answer = call(wire, "/keyturn/v1/batches", {"dryRun" * 10_000: True, "userIds": ["ada"]})

    assert problem(answer)[:2] == (400, 3)
    assert len(answer.get_data()) < 1000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/management/v1/users/ada/password/_reset", {"typ": "TYPE_SMS"}),
        ("/v2/users/ada/password_reset", {"sendlink": {}, "more": 1}),
        ("/v2/users/ada/password", {"newPassword": {"password": GOOD, "x": 1}, "y": 2}),
        ("/zitadel.user.v2.UserService/PasswordReset", {"userId": "ada", "more": 1}),
    ],
)
def test_zitadel_s_own_calls_go_on_ignoring_unknown_fields(wire, path, body):
    assert call(wire, path, body, Content_Type="application/json").status_code == 200


# Unknown settings.


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("KEYTURN_PUBLIC_ULR", "KEYTURN_PUBLIC_URL"),
        ("KEYTURN_SENDGRID_API_KEYS", "KEYTURN_SENDGRID_API_KEY"),
        ("KEYTURN_SENDGRID_APIKEY_FILE", "KEYTURN_SENDGRID_API_KEY_FILE"),
        ("KEYTURN_USER_LIMIT_HOUR", "KEYTURN_USER_LIMIT_PER_HOUR"),
        ("KEYTURN_TWILIO_10_AUTH_TOKEN", "KEYTURN_TWILIO_[0-9_]*AUTH_TOKEN"),
        ("KEYTURN_TWILIO_2_AUTHTOKEN", "KEYTURN_TWILIO_2_AUTH_TOKEN"),
        ("KEYTURN_GPRC_PORT", "KEYTURN_GRPC_PORT"),
        ("KEYTURN_PASSWORD_MINIMUM", "KEYTURN_PASSWORD_[A-Z_]+"),
        ("KEYTURN_", "KEYTURN_[A-Z_]+"),
        ("KEYTURN_Port", "KEYTURN_PORT"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(variable, nearest):
    with pytest.raises(SettingsError) as refused:
        load_settings({variable: "a secret value", **KEYS})

    assert re.fullmatch(rf"{variable} is no setting; the nearest is {nearest}", str(refused.value))


def test_a_command_names_the_misspelled_setting():
    done = CliRunner().invoke(keyturn, ["org", "list"], env=KEYS | {"KEYTURN_REDIS_ULR": "x"})

    assert done.exit_code == 1
    assert "KEYTURN_REDIS_ULR is no setting; the nearest is KEYTURN_REDIS_URL" in done.stderr


def test_what_is_known_is_taken(tmp_path):
    (tmp_path / "key").write_text("x")
    file = str(tmp_path / "key")
    kubernetes = {
        "KEYTURN_SERVICE_HOST": "10.0.0.1", "KEYTURN_SERVICE_PORT_HTTP": "80",
        "KEYTURN_WEB_PORT": "tcp://10.0.0.1:80",
        "KEYTURN_WEB_PORT_80_TCP_ADDR": "10.0.0.1", "KEYTURN_WEB_SERVICE_PORT": "80",
    }  # fmt: skip
    accounts = {
        f"KEYTURN_{name.upper().replace('-', '_')}_AUTH_TOKEN_FILE": file
        for name in TWILIO_PROVIDERS
    }

    settings = load_settings(
        {"KEYTURN_TEST_REDIS_URL": "x", "KEYTURN_CONTRACTS_DIR": "x", "KEYTURN_PUBLIC_BIND": "x",
         "KEYTURN_PORT": "8089", "KEYTURN": "x", "PATH": "x", **kubernetes, **accounts, **KEYS}
    )  # fmt: skip

    assert settings.port == 8089


@pytest.mark.parametrize(
    ("granted", "nearest"),
    [("user.wirte", "user.write"), ("user.read+user.writ", "user.write"),
     ("users.read", "user.read"), ("system.reads", "system.read"), ("*", "[a-z.]+")],
)  # fmt: skip
def test_a_misspelled_permission_is_refused(granted, nearest):
    with pytest.raises(SettingsError, match=rf"is no permission; the nearest is {nearest}$"):
        load_settings({"KEYTURN_ROLE_PERMISSIONS": f"HELPDESK={granted}"})


# Names.

STRANGE = [
    "+41 79 123 45 67", "079 123 45 67", "Call 0800-123-456", "Ada 0791234567",
    "(555) 010-9999", "١٢٣٤٥٦٧", "\uff10\uff17\uff19\uff11\uff12\uff13\uff14",
    "12345", "110", "1-800", "☎ 123",
    "ada@evil.example", "https://evil.example", "evil.example", "12 Main Street",
    "Bahnhofstrasse 12", "Hauptstr. 5", "Langgasse 3", "5 rue de la Paix", "Via Roma 1",
    "P.O. Box 12", "Your account was hacked", "Your password expires today",
    "Please call us back", "You have won!", "Urgent: call us now", "Bitte sofort anrufen",
    "Ihr Konto wurde gesperrt", "Votre compte est bloqué", "Su cuenta fue bloqueada",
    "Have you seen this?", "¡Gana ahora!", "The meeting was cancelled today by us",
    "We moved. Come over there", "Win $500", "Get 50% off", "Everything is fine.",
    "Sie haben gewonnen",
]  # fmt: skip
NAMES = [
    "Ada Lovelace", "ada lovelace", "maria garcia lopez", "J. R. R. Tolkien",
    "Dr. O'Neill-Smith, M.D.", "Sammy Davis Jr.", "Łukasz Żółć", "王小明",
    "María de los Ángeles Fernández de la Cruz", "Ludwig van Beethoven",
    "Freiherr von und zu Guttenberg", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
    "Karl der Große", "Prof. Dr. Ada King",
    "R2D2", "Ada 1815", "Henry VIII", "Anne-Marie d'Arc", "Win Myint", "Rua Mendes",
    "Lane Street", "Ringo", "Nguyễn Thị Minh Khai", "Abd al-Rahman bin Faisal Al Saud",
    "Christopher Bartholomew Featherstonehaugh",
]  # fmt: skip


@pytest.fixture
def greeting():
    """How a mail to a person of this name begins."""
    wording = Wording(a_settings(), Languages())
    return lambda name: wording.greeting("en", User("ada", "acme", display_name=name))


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_name_does_not_greet(greeting, name):
    assert greeting(name) == "Hello,"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_greets(greeting, name):
    assert greeting(name) == f"Hello {name},"


def test_a_user_of_such_a_name_may_be_imported(wire):
    assert a_user(wire.services, displayName="Call 0800 123 456") == "ada"
