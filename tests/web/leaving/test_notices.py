"""Who hears of a changed password: the person by the channel it has, and subscribers, always."""

from __future__ import annotations

import json

import pytest

from shared.gsm7 import segments
from shared.models import Channel, Kind
from shared.organisations.sender import Route, Sender
from shared.store import keys
from shared.store.codes import Guesser
from shared.store.webhooks.deliveries import WebhookStore
from shared.webhooks import build_body
from tests.support.builders import a_user
from tests.support.message_builders import PHONE, a_renderer, a_reset, every_language
from tests.support.message_builders import a_user as a_person
from tests.support.sender_builders import TWILIO, save_sender
from tests.support.wire import Wire
from web.passwords import complete_reset, conclude_without_code

PASSWORD = "a Sentence of 5 words!"
NEW = {"newPassword": {"password": PASSWORD}}
OLD = "another Sentence of 5 words!"
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


pytestmark = pytest.mark.real_server  # for its speed


@pytest.fixture
def wire(real_client):
    return Wire(real_client)


def subscribe(wire):
    hook = {"url": "https://hooks.example.com/", "events": ["password.changed"]}
    added = wire.call("/keyturn/v1/webhooks", headers=wire.headers(), json=hook)
    return added.get_json()["subscriptionId"]


def told(wire, subscription_id):
    """What the subscriber is sent, of every shard."""
    store, found = WebhookStore(wire.redis), []
    for tag in keys.TAGS:
        while webhook := store.claim(subscription_id, tag):
            found.append((webhook.webhook_id, json.loads(build_body(webhook))))
    return found


def notices(wire, user_id="ada"):
    found = wire.services.resets.find_of_user(user_id, with_older=True)
    return [each for each in found if each.kind is Kind.NOTICE]


def by_page(wire):
    reset = wire.call(
        "/v2/users/ada/password_reset", headers=wire.headers(), json={"returnCode": {}}
    )
    code = reset.get_json()["verificationCode"]
    complete_reset(
        wire.app.extensions["keyturn"],
        user_id="ada",
        typed_code=code,
        new_password=PASSWORD,
        guesser=Guesser("x", "x"),
    )


def by_code(wire):
    reset = wire.call(
        "/v2/users/ada/password_reset", headers=wire.headers(), json={"returnCode": {}}
    )
    change(wire, NEW | {"verificationCode": reset.get_json()["verificationCode"]})


def by_current_password(wire):
    change(wire, NEW | {"currentPassword": OLD})


def by_permission(wire):
    change(wire, NEW)


def change(wire, body):
    answer = wire.call("/v2/users/ada/password", headers=wire.headers(), json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)


def by_import(wire):
    report = wire.services.directory.import_users(
        [json.dumps({"userId": "ada", "orgId": "acme", "password": PASSWORD})]
    )
    assert report.changed_passwords == ("ada",)
    conclude_without_code(wire.app.extensions["keyturn"], wire.services.directory.find_user("ada"))


WAYS = [by_page, by_code, by_current_password, by_permission, by_import]


@pytest.mark.parametrize("way", WAYS)
def test_subscribers_and_the_person_hear_of_every_change(wire, way):
    a_user(wire.services, password=OLD)
    subscription_id = subscribe(wire)

    way(wire)

    ((webhook_id, body),) = told(wire, subscription_id)
    assert webhook_id.endswith("_password_changed")
    assert body["type"] == "password.changed"
    data = body["data"]
    assert (data["userId"], data["orgId"]) == ("ada", "acme")
    with_code = way in (by_page, by_code)
    assert (data["resetId"] is not None) == with_code
    assert (data["status"], data["channel"]) == (
        ("accepted", "email") if with_code else (None, None)
    )
    (notice,) = notices(wire)
    assert notice.channel is Channel.EMAIL


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("email", [None, "ada@example.com"])
def test_who_has_no_verified_mail_gets_an_sms(wire, way, email):
    a_user(wire.services, "ada", email=email, emailVerified=False, password=OLD)
    if email is None:
        wire.redis.hdel(keys.directory_user("ada"), "formerEmails")
    subscribe(wire)

    way(wire)

    assert [each.channel for each in notices(wire) if each.notice_to] == [Channel.SMS] or email
    assert Channel.SMS in {each.channel for each in notices(wire)}


@pytest.mark.parametrize(
    "changes", [{"phoneVerified": False}, {"phone": None}], ids=["unverified", "none"]
)
def test_who_has_neither_gets_a_record_that_says_so(wire, changes):
    a_user(wire.services, emailVerified=False, **changes)

    by_permission(wire)

    (notice,) = notices(wire)
    assert notice.channel is Channel.EMAIL


def an_sms_user(wire):
    a_user(wire.services, emailVerified=False)


def budget_of(wire):
    return int(wire.redis.get(keys.window("sms_budget", "all")) or 0)


def test_an_sms_notice_counts_in_the_budget_once_in_five_minutes(real_client):
    wire = Wire(real_client, sms_budget_per_day=3)
    an_sms_user(wire)

    for _ in range(9):
        by_permission(wire)

    assert len(notices(wire)) == 1
    assert budget_of(wire) == 1


@pytest.mark.parametrize(("has_fallback", "spent"), [(False, 0), (True, 1)])
def test_a_notice_by_an_own_account_alone_costs_the_installation_nothing(
    real_client, has_fallback, spent
):
    wire = Wire(real_client, sms_budget_per_day=3)
    save_sender(wire.services, {"sms": {"twilio": TWILIO, "fallback": has_fallback}})
    an_sms_user(wire)

    for _ in range(2):
        by_permission(wire)

    assert [each.channel for each in notices(wire)] == [Channel.SMS]
    assert budget_of(wire) == spent


def test_a_spent_budget_sends_no_notice_and_the_password_is_changed(real_client):
    wire = Wire(real_client, sms_budget_per_day=1)
    an_sms_user(wire)
    assert wire.reset(body={"type": "TYPE_SMS"}).status_code == 200

    by_permission(wire)

    assert notices(wire) == []
    assert budget_of(wire) == 1


def test_the_country_rules_hold_for_a_notice(real_client):
    wire = Wire(real_client, sms_countries=("DE",))
    an_sms_user(wire)

    by_permission(wire)

    assert [each.channel for each in notices(wire)] == [Channel.EMAIL]


@pytest.mark.parametrize(("countries", "channel"), [(("CH",), "sms"), (("DE",), "email")])
def test_an_organisation_with_a_provider_of_its_own_sends_the_notice(
    real_client, countries, channel
):
    wire = Wire(real_client, sms_providers=(), sms_countries=("FR",))
    an_sms_user(wire)
    route = Route(("twilio",), {}, countries=countries)
    wire.services.senders.save("acme", Sender(0, {Channel.SMS: route}), version=0)

    by_permission(wire)

    assert [each.channel for each in notices(wire)] == [channel]


def test_a_notice_is_in_the_language_of_its_user(wire):
    a_user(wire.services, language="pt-BR")

    by_permission(wire)

    assert [each.language for each in notices(wire)] == ["pt-BR"]


def test_an_import_of_the_same_password_tells_no_one(wire):
    a_user(wire.services, password=OLD)

    again = wire.services.directory.import_users(
        [json.dumps({"userId": name, "orgId": "acme", "password": OLD}) for name in ("ada", "new")]
    )

    assert (again.changed_passwords, again.imported) == ((), 1)


@every_language
def test_the_sms_is_one_segment_without_a_link_or_two_in_another_script(language):
    renderer = a_renderer(time_zone="Pacific/Chatham")
    reset = a_reset(kind=Kind.NOTICE, channel=Channel.SMS, language=language)

    sms = renderer.render_notice(reset, a_person(), PHONE, None)

    assert segments(sms.body)[0] <= (1 if set(sms.body) <= GSM7 else 2)
    assert "http" not in sms.body
