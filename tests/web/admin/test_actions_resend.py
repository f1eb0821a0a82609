"""A fresh reset for the user of another one: the rules of recording, without the cool-down."""

from __future__ import annotations

import pytest

from shared.models import Channel, Kind, Recipient
from shared.store.codes import CompletionNotice
from tests.support.builders import a_user
from tests.support.wire import problem
from tests.support.wire_v2 import RESET
from tests.web.admin.test_admin_api import AdminWire

WHY = {"reason": "she asked by phone"}


@pytest.fixture
def wire(client):
    return AdminWire(client, user_cooldown_seconds=60.0)


def resend(wire, reset_id, body=None, **headers):
    return wire.post(f"resets/{reset_id}/_resend", body or {}, wire.token, **headers)


def test_a_fresh_reset_is_made_for_the_same_user(wire):
    old = wire.a_reset()

    response = resend(wire, old)

    told = response.get_json()
    new = wire.services.resets.find(told["resetId"])
    assert response.headers["Keyturn-Reset-Id"] == told["resetId"] != old
    assert (new.user_id, new.channel, new.kind) == ("ada", "email", Kind.RESET)
    assert told["details"]["resourceOwner"] == "acme"
    assert [hint.about for hint in wire.hints.published][-1] == new.reset_id
    assert wire.show(old).get_json()["status"] == "cancelled"


def test_it_may_go_by_the_other_channel(wire):
    told = resend(wire, wire.a_reset(), {"type": "TYPE_SMS"}).get_json()

    assert wire.services.resets.find(told["resetId"]).channel == "sms"


def test_the_callers_own_link_is_kept(wire):
    template = "https://reset.example.com/x?c={{.Code}}"
    body = {"sendLink": {"urlTemplate": template}}
    old = wire.call(RESET.format("ada"), json=body, headers=wire.headers())

    told = resend(wire, old.headers["Keyturn-Reset-Id"]).get_json()

    assert wire.services.resets.find(told["resetId"]).url_template == template


def test_the_cool_down_of_the_user_stays_for_everybody_else(wire):
    old = wire.a_reset()

    assert resend(wire, old).status_code == 200
    assert problem(wire.reset())[2] == "KEYTURN-RateLimited"


@pytest.mark.parametrize("limit", ["user_limit_per_hour", "org_limit_per_minute"])
def test_all_other_limits_hold(client, limit):
    wire = AdminWire(client, **{limit: 1})
    old = wire.a_reset()

    assert problem(resend(wire, old)) == (429, 8, "KEYTURN-RateLimited")


@pytest.mark.parametrize(
    ("fields", "error_id"),
    [
        ({"phone": None}, "KEYTURN-NoRecipient"),
        ({"state": "locked"}, "KEYTURN-Inactive"),
        ({"orgId": "beta"}, "COMMAND-Hj9ds"),
    ],
)
def test_all_rules_about_the_user_hold(wire, fields, error_id):
    old = wire.a_reset()
    a_user(wire.services, **fields)

    assert problem(resend(wire, old, {"type": "TYPE_SMS"}))[2] == error_id


def test_nobody_suppressed_is_written_to(wire):
    old = wire.a_reset()
    recipient = Recipient("email", "ada@example.com")
    wire.services.suppressions.add(recipient, reason="bounce", source="sendgrid")

    assert problem(resend(wire, old))[2] == "KEYTURN-Suppressed"


def test_the_same_key_makes_one_reset(wire):
    old = wire.a_reset()

    first = resend(wire, old, Idempotency_Key="k")
    second = resend(wire, old, Idempotency_Key="k")
    other = resend(wire, old, {"type": "TYPE_SMS"}, Idempotency_Key="k")

    assert first.get_json() == second.get_json()
    assert problem(other)[2] == "KEYTURN-IdempotencyMismatch"
    assert wire.trail() == [("reset.resend", old)]


def test_who_and_why_stand_in_the_trail(wire):
    old = wire.a_reset()

    resend(wire, old, WHY)

    (entry,) = wire.services.audit.newest()
    assert (entry.act.action, entry.act.target) == ("reset.resend", old)
    assert entry.act.reason == "she asked by phone"


@pytest.mark.parametrize("kind", ["TYPE_PIGEON", 7])
def test_an_unknown_channel_is_refused(wire, kind):
    assert problem(resend(wire, wire.a_reset(), {"type": kind})) == (400, 3, None)


def test_a_notice_is_not_sent_again(wire):
    services = wire.services
    notice_id = services.digests.new_reset_id("ada")
    notice = CompletionNotice(
        {notice_id: ("digest", Channel.EMAIL)},
        86400.0,
        300.0,
        {"u": "ada", "o": "acme", "lg": "en", "kid": services.codes.signing_key_id},
    )
    services.code_store.complete("ada", reset_id="", token="", notice=notice)

    assert problem(resend(wire, notice_id)) == (400, 9, "KEYTURN-ResetState")
