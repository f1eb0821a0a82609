"""What providers revise, secrets that overlap while they are exchanged, channels nobody set up."""

from __future__ import annotations

import json
import time

import pytest
from structlog.testing import capture_logs

from shared.errors import DoubtfulProviderError, SettingsError
from shared.models import Channel, Receipt, Status
from shared.settings import TwilioAccount, load_settings
from shared.store import keys
from tests.support.builders import SECRET
from tests.support.callback_builders import (
    TWILIO_SID,
    SendGridKey,
    a_body,
    a_mail_event,
    a_status,
    form_body,
    twilio_headers,
    twilio_query,
)
from tests.support.delivery_services import ScriptedProvider
from tests.support.wire import problem
from tests.web.admin.test_status import Watched
from tests.web.explain.test_diagnosis import Story
from web.app import create_app
from web.explain.query import explain_reset
from web.passwords import request_fresh
from web.services import build_web_services

NOW = int(time.time()) - 600
DOUBT = DoubtfulProviderError("answer_timeout", "no answer")
GONE = {"type": "bounce", "reason": "550 5.1.1 no such user"}


@pytest.fixture
def story(client):
    return Story(client)


def told(story, reset_id):
    """What the call for its status answers."""
    return story.show(reset_id).get_json()


def a_delivered_mail(story, **fields):
    reset_id = story.send()
    story.tell_mail("delivered", reset_id, **{"timestamp": NOW} | fields)
    assert told(story, reset_id)["status"] == "delivered"
    return reset_id


def two_copies(client):
    """A reset of which two copies are at the provider: m1, in doubt at first, and m2."""
    mail = ScriptedProvider(DOUBT, Receipt("m2"), name="sendgrid")
    story = Story(client, mail, ScriptedProvider(name="twilio", channel=Channel.SMS))
    reset_id = story.send()
    story.worker.again(reset_id)
    return story, reset_id


def copy(number):
    return {"sg_message_id": f"m{number}.filter0001.1.ABC.0"}


@pytest.mark.parametrize(
    ("event", "fields", "status"),
    [
        ("bounce", GONE, "undelivered"),
        ("bounce", {"type": "blocked"}, "undelivered"),
        ("blocked", {}, "undelivered"),
        ("dropped", {"reason": "Bounced Address"}, "failed"),
        ("dropped", {"reason": "Unsubscribed Address"}, "suppressed"),
        ("dropped", {}, "failed"),
    ],
    ids=["bounce", "soft bounce", "blocked", "dropped", "opt-out", "dropped unclear"],
)
@pytest.mark.parametrize("seconds", [0, 1, 500])
def test_a_mail_that_comes_back_after_delivery_is_not_delivered(
    story, event, fields, status, seconds
):
    reset_id = a_delivered_mail(story)

    story.tell_mail(event, reset_id, timestamp=NOW + seconds, **fields)

    answer = told(story, reset_id)
    assert answer["status"] == status
    assert answer["reason"]
    assert next(each["type"] for each in answer["events"]) == "delivered"
    explained = explain_reset(story.services, story.services.resets.find(reset_id))
    assert explained.diagnosis.kind not in ("delivered", "accepted")
    assert "It is there" not in explained.diagnosis.next_step


@pytest.mark.parametrize("status", ["undelivered", "failed"])
@pytest.mark.parametrize("first", ["delivered", "read"])
def test_an_sms_that_comes_back_after_delivery_is_not_delivered(story, first, status):
    reset_id = story.send("sms")
    story.tell_sms(first, reset_id)

    story.tell_sms(status, reset_id, ErrorCode="30005")

    assert told(story, reset_id)["status"] == status


def test_its_address_is_not_written_to_again(story):
    reset_id = a_delivered_mail(story)

    story.tell_mail("bounce", reset_id, **GONE)

    assert problem(story.reset(body={"type": "TYPE_EMAIL"}))[2] == "KEYTURN-Suppressed"


def test_counts_batches_and_subscribers_hear_of_it(story):
    hook = story.services.subscriptions
    hook.add("acme", url="https://hooks.example/", events=("reset.undelivered",))
    reset_id = story.ask()
    story.redis.hset(keys.reset(reset_id), "b", "b1")
    story.worker.deliver(reset_id)
    story.tell_mail("delivered", reset_id, timestamp=NOW)

    story.tell_mail("bounce", reset_id, timestamp=NOW + 5, **GONE)

    assert story.services.batches.ends("b1") == {(Status.UNDELIVERED, "bounce"): 1}
    assert story.services.counters.totals()["to:email:undelivered"] == 1
    assert story.worker.stores.counted_now() == {}
    assert [key for key in story.redis.scan_iter("*:wh:*") if key.endswith(":undelivered")]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("deferred", {"timestamp": NOW + 60}),
        ("processed", {"timestamp": NOW + 60}),
        ("delivered", {"timestamp": NOW - 60}),
        ("delivered", {"timestamp": NOW + 60}),
    ],
)
def test_what_is_told_late_moves_nothing_back(story, event, fields):
    reset_id = a_delivered_mail(story)
    story.tell_mail("bounce", reset_id, timestamp=NOW + 5, **GONE)

    story.tell_mail(event, reset_id, **fields)

    assert told(story, reset_id)["status"] == "undelivered"


def test_a_deferral_told_late_leaves_a_delivered_one(story):
    reset_id = a_delivered_mail(story)

    story.tell_mail("deferred", reset_id, timestamp=NOW + 60)

    assert told(story, reset_id)["status"] == "delivered"


def test_a_bounce_of_before_the_delivery_does_not_undo_it(story):
    reset_id = a_delivered_mail(story)

    story.tell_mail("bounce", reset_id, timestamp=NOW - 60, type="blocked")

    assert told(story, reset_id)["status"] == "delivered"


@pytest.mark.parametrize(("arrived", "bounced"), [(2, 1), (1, 2)])
def test_a_copy_that_comes_back_does_not_undo_the_other(client, arrived, bounced):
    story, reset_id = two_copies(client)
    story.tell_mail("processed", reset_id, **copy(1))
    story.tell_mail("delivered", reset_id, timestamp=NOW, **copy(arrived))

    story.tell_mail("bounce", reset_id, timestamp=NOW + 5, **GONE, **copy(bounced))

    assert told(story, reset_id)["status"] == "delivered"


def test_a_reset_both_of_whose_copies_come_back_is_undelivered(client):
    story, reset_id = two_copies(client)
    for number in (1, 2):
        story.tell_mail("delivered", reset_id, timestamp=NOW, **copy(number))
    story.tell_mail("bounce", reset_id, timestamp=NOW + 5, **GONE, **copy(2))
    assert told(story, reset_id)["status"] == "delivered"

    story.tell_mail("bounce", reset_id, timestamp=NOW + 6, **GONE, **copy(1))

    assert told(story, reset_id)["status"] == "undelivered"


def test_the_other_copy_may_still_arrive(client):
    story, reset_id = two_copies(client)
    story.tell_mail("delivered", reset_id, timestamp=NOW, **copy(1))
    story.tell_mail("bounce", reset_id, timestamp=NOW + 5, **GONE, **copy(1))
    assert told(story, reset_id)["status"] == "undelivered"

    story.tell_mail("delivered", reset_id, timestamp=NOW + 9, **copy(2))

    assert told(story, reset_id)["status"] == "delivered"


def test_a_complaint_after_delivery_suppresses_and_leaves_it_delivered(story):
    reset_id = a_delivered_mail(story)

    story.tell_mail("spamreport", reset_id, timestamp=NOW + 60)

    assert told(story, reset_id)["status"] == "delivered"
    assert problem(story.reset(body={"type": "TYPE_EMAIL"}))[2] == "KEYTURN-Suppressed"


def test_the_other_channel_is_offered_for_it_once(client):
    story = Story(client, offer_other_channel=True)
    reset_id = a_delivered_mail(story)

    for number in range(2):
        story.tell_mail("bounce", reset_id, timestamp=NOW + 5, sg_event_id=f"b{number}", **GONE)

    found = [reset.channel for reset in story.services.resets.find_of_user("ada")]
    assert sorted(found) == ["email", "sms"]


def post(story, key, reset_id="0nobody"):
    body = a_body(a_mail_event("delivered", reset_id))
    return story.call("/callbacks/sendgrid", data=body, headers=key.headers(body)).status_code


@pytest.mark.parametrize("join", [",", " , ", ",\n"])
def test_events_signed_with_either_key_are_taken_and_a_third_is_not(client, join):
    old, new, foreign = SendGridKey(), SendGridKey(), SendGridKey()
    environ = {"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY": join.join([new.public, old.public])}
    story = Story(client, **only(environ, "sendgrid_webhook_public_key"))

    assert [post(story, key) for key in (old, new, foreign)] == [204, 204, 403]


def test_keys_stand_in_one_file_as_pem(client, tmp_path):
    pair = SendGridKey(), SendGridKey()
    pem = "".join(
        f"-----BEGIN PUBLIC KEY-----\n{k.public[:64]}\n{k.public[64:]}\n-----END PUBLIC KEY-----\n"
        for k in pair
    )
    (tmp_path / "keys.pem").write_text(pem)
    environ = {"KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY_FILE": str(tmp_path / "keys.pem")}
    story = Story(client, **only(environ, "sendgrid_webhook_public_key"))

    assert [post(story, key) for key in (*pair, SendGridKey())] == [204, 204, 403]


@pytest.mark.parametrize("number", ["", "2_"])
def test_an_sms_status_signed_with_either_token_is_taken(client, number):
    accounts = load_settings(
        {
            f"KEYTURN_TWILIO_{number}ACCOUNT_SID": TWILIO_SID,
            f"KEYTURN_TWILIO_{number}AUTH_TOKEN": "new-token, old-token",
        }
    ).twilio_accounts
    story = Story(client, twilio_accounts=accounts)
    reset_id = story.send("sms")
    form, query = a_status("delivered"), twilio_query(reset_id)

    def tell(token):
        headers = twilio_headers(query, form, token=token)
        return story.call(f"/callbacks/twilio?{query}", data=form_body(form), headers=headers)

    tokens = ("new-token", "old-token", "third-token", "new-token, old-token", "")
    assert [tell(token).status_code for token in tokens] == [204, 204, 403, 403, 403]


def test_calls_are_made_with_the_first_token():
    account = TwilioAccount(account_sid="AC1", auth_token=("new-token", "old-token"))

    assert account.login == ("AC1", "new-token")
    assert "-token" not in repr(account)


def only(environ, *names):
    """Some settings of an environment."""
    loaded = load_settings({"KEYTURN_SECRET_KEYS": SECRET} | environ)
    return {name: getattr(loaded, name) for name in names}


MAIL = {"KEYTURN_EMAIL_PROVIDERS": "smtp", "KEYTURN_SMTP_URL": "smtp://127.0.0.1:1"}
TWILIO = {
    "KEYTURN_SMS_PROVIDERS": "twilio",
    "KEYTURN_TWILIO_ACCOUNT_SID": "AC1",
    "KEYTURN_TWILIO_AUTH_TOKEN": "token",
    "KEYTURN_TWILIO_FROM": "+41790000000",
}
CHANNELS = ("email_providers", "sms_providers", "unset_channels")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (("outbox",), ("outbox",), ())),
        (MAIL, (("smtp",), (), ("sms",))),
        (TWILIO, ((), ("twilio",), ("email",))),
        (MAIL | {"KEYTURN_SMS_PROVIDERS": "outbox"}, (("smtp",), ("outbox",), ())),
        (MAIL | {"KEYTURN_SMS_PROVIDERS": ""}, (("smtp",), (), ())),
        ({"KEYTURN_EMAIL_PROVIDERS": "outbox"}, (("outbox",), ("outbox",), ())),
        ({"KEYTURN_EMAIL_PROVIDERS": ""}, ((), ("outbox",), ())),
    ],
)
def test_the_outbox_is_no_default_beside_a_real_provider(environ, expected):
    assert tuple(only(environ, *CHANNELS).values()) == expected


@pytest.fixture(params=["sms", "email"])
def lopsided(request, client):
    """An installation on which one channel was never set up; its name."""
    environ = MAIL if request.param == "sms" else TWILIO
    names = (*CHANNELS, "twilio_accounts", "smtp_url")
    return Watched(client, **only(environ, *names), sms_countries=()), request.param


def test_no_way_in_records_a_reset_for_a_channel_that_was_not_set_up(lopsided):
    story, channel = lopsided
    other = {"sms": "email", "email": "sms"}[channel]
    kind = f"TYPE_{channel.upper()}"
    there = story.reset(body={"type": f"TYPE_{other.upper()}"})
    assert there.status_code == 200
    before = story.records()
    medium = {"sendLink": {"notificationType": {"sms": 2, "email": 1}[channel]}}
    resend = f"/keyturn/v1/resets/{there.headers['Keyturn-Reset-Id']}/_resend"
    headers = story.headers()

    answers = [
        story.reset(body={"type": kind}),
        story.call("/v2/users/ada/password_reset", data=json.dumps(medium), headers=headers),
        story.call(resend, data=json.dumps({"type": kind, "reason": "again"}), headers=headers),
        story.call(
            "/keyturn/v1/batches",
            data=json.dumps({"type": kind, "userIds": ["ada"], "reason": "again"}),
            headers=headers,
        ),
    ]

    assert [problem(each)[::2] for each in answers] == [(503, "KEYTURN-NoProvider")] * 4
    request_fresh(
        build_web_services(story.services), user_id="ada", typed_code="", source="192.0.2.0/32"
    )
    recorded = {story.services.resets.find(each).channel for each in story.records()}
    assert story.records() == before  # the page's press too: a mail is waiting, or there is none
    assert recorded == {other}


def test_the_code_may_still_be_returned_there(lopsided):
    story, _ = lopsided

    body = json.dumps({"returnCode": {}})
    answer = story.call("/v2/users/ada/password_reset", data=body, headers=story.headers())

    assert answer.status_code == 200


def test_a_bounce_is_not_followed_by_a_channel_that_was_not_set_up(client):
    names = (*CHANNELS, "smtp_url")
    story = Story(client, offer_other_channel=True, **only(MAIL, *names))
    reset_id = story.send()

    story.tell_mail("bounce", reset_id, **GONE)

    assert len(story.services.resets.find_of_user("ada")) == 1


def test_status_and_start_say_that_it_was_not_set_up(lopsided):
    story, channel = lopsided
    name = {"sms": "SMS", "email": "E-mail"}[channel]

    (trouble,) = story.told()["troubles"]
    with capture_logs() as lines:
        create_app(story.services)

    assert trouble.startswith(f"{name}: no provider is set up")
    assert f"KEYTURN_{channel.upper()}_PROVIDERS" in trouble
    told = [each["why"] for each in lines if each["event"] == "settings.doubtful"]
    assert [each for each in told if each in trouble]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"KEYTURN_TWILIO_FROM": "Keyturn"}, ["KEYTURN_TWILIO_FROM"]),
        ({"KEYTURN_TWILIO_FROM": "8080"}, ["KEYTURN_TWILIO_FROM"]),
        ({"KEYTURN_TWILIO_FROM": "", "KEYTURN_TWILIO_MESSAGING_SERVICE_SID": "MG1"},
         ["KEYTURN_TWILIO_FROM"]),
        ({"KEYTURN_SMS_PROVIDERS": "twilio,outbox", "KEYTURN_TWILIO_FROM": "Keyturn"},
         ["KEYTURN_TWILIO_FROM"]),
        ({"KEYTURN_SMS_PROVIDERS": "twilio,twilio-2",
          "KEYTURN_TWILIO_FROM": "Keyturn",
          "KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2", "KEYTURN_TWILIO_2_AUTH_TOKEN": "x",
          "KEYTURN_TWILIO_2_FROM": "Other"},
         ["KEYTURN_TWILIO_FROM", "KEYTURN_TWILIO_2_FROM"]),
        ({"KEYTURN_SMS_PROVIDERS": "twilio,twilio-2",
          "KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2", "KEYTURN_TWILIO_2_AUTH_TOKEN": "x",
          "KEYTURN_TWILIO_2_MESSAGING_SERVICE_SID": "MG2"},
         ["KEYTURN_TWILIO_2_FROM"]),
    ],
)  # fmt: skip
def test_a_sender_without_a_region_is_refused_at_start(changes, names):
    with pytest.raises(SettingsError) as refused:
        load_settings(TWILIO | changes)

    assert all(name in str(refused.value) for name in [*names, "KEYTURN_SMS_COUNTRIES"])
    assert load_settings(TWILIO | changes | {"KEYTURN_SMS_COUNTRIES": "CH"}).sms_countries


def test_a_sender_that_is_not_in_use_needs_no_region():
    unused = {"KEYTURN_TWILIO_2_ACCOUNT_SID": "AC2", "KEYTURN_TWILIO_2_FROM": "Keyturn"}

    assert load_settings(TWILIO | unused).sms_providers == ("twilio",)


@pytest.mark.parametrize(
    ("environ", "remedy"),
    [
        ({"KEYTURN_SMS_COUNTRIES": "CH,Switzerland"}, "SWITZERLAND is no region"),
        ({"KEYTURN_SMS_COUNTRIES": "ZZ"}, "ZZ is no region"),
        ({"KEYTURN_LINK_HOSTS": "https://app.example.com/"}, "must be a host"),
        ({"KEYTURN_ROLE_PERMISSIONS": ""}, "gives no role a permission"),
        ({"KEYTURN_ROLE_PERMISSIONS": "ORG_OWNER="}, "gives no role a permission"),
        ({"KEYTURN_ROLE_PERMISSIONS": "ORG_OWNER=user.wrte"}, "user.write"),
        ({"KEYTURN_ROLE_PERMISSIONS": "=user.write"}, "must name a role"),
        ({"KEYTURN_PASSWORD_MIN_CHARACTERS": "201"}, "at most 200"),
    ],
)
def test_a_setting_that_would_refuse_everything_is_refused(environ, remedy):
    with pytest.raises(SettingsError, match=next(iter(environ))) as refused:
        load_settings(environ)

    assert remedy in str(refused.value)
