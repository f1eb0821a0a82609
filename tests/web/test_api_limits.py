from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.builders import a_token, a_user
from tests.support.sender_builders import TWILIO, save_sender
from tests.support.wire import ERROR_DETAIL, RETRY_INFO, Wire

SMS = {"type": "TYPE_SMS"}


def limited(response):
    """Which limit refused, and how many seconds to wait; None when it did not."""
    if response.status_code == 200:
        return None
    body = response.get_json()
    detail, retry = body["details"]
    seconds = int(response.headers["Retry-After"])
    assert (response.status_code, body["code"]) == (429, 8)
    assert detail["@type"] == ERROR_DETAIL
    assert detail["id"] == "KEYTURN-RateLimited"
    assert retry == {"@type": RETRY_INFO, "retryDelay": f"{seconds}s"}
    assert f"{seconds} s" in body["message"]
    return body["message"].partition("(")[2].partition(")")[0], seconds


def counters(wire):
    """Every count of the gate by its kind."""
    found = {key.split(":")[3]: int(wire.redis.get(key)) for key in wire.redis.keys("*:n:*")}
    return {kind: count for kind, count in found.items() if count}


LIMITS = [
    pytest.param({"user_cooldown_seconds": 60.0}, b"", 1, "cooldown", 60, id="cool-down"),
    pytest.param({"user_limit_per_hour": 3}, b"", 3, "user_hour", 3600, id="hour"),
    pytest.param({"user_limit_per_day": 4}, b"", 4, "user_day", 86400, id="day"),
    pytest.param({"org_limit_per_minute": 2}, b"", 2, "organisation", 60, id="organisation"),
    pytest.param({"caller_limit_per_minute": 3}, b"", 3, "caller", 60, id="caller"),
    pytest.param({"sms_budget_per_day": 2}, SMS, 2, "sms_budget", 86400, id="SMS budget"),
]


@pytest.mark.parametrize(("settings", "body", "allowed", "name", "seconds"), LIMITS)
def test_a_limit_says_which_it_is_and_when_to_try_again(
    client, settings, body, allowed, name, seconds
):
    wire = Wire(client, **settings)

    answers = [limited(wire.reset(body=body)) for _ in range(allowed + 2)]

    assert answers[:allowed] == [None] * allowed
    for which, wait in answers[allowed:]:
        assert which == name
        assert seconds - 5 <= wait <= seconds
    assert len(wire.records()) == allowed


@pytest.mark.parametrize(("settings", "body", "allowed", "name", "seconds"), LIMITS)
def test_a_refused_call_counts_nothing(client, settings, body, allowed, name, seconds):
    wire = Wire(client, **settings)
    for _ in range(allowed):
        wire.reset(body=body)
    before, published = counters(wire), len(wire.hints.published)

    assert limited(wire.reset(body=body)) is not None

    assert counters(wire) == before
    assert len(wire.hints.published) == published


def test_nought_switches_every_limit_off(fake_client):
    wire = Wire(fake_client)

    answers = [wire.reset(body=SMS).status_code for _ in range(30)]

    assert set(answers) == {200}
    assert counters(wire) == {}


def test_the_cool_down_ends(client):
    wire = Wire(client, user_cooldown_seconds=1.0)
    first, second = wire.reset(), wire.reset()
    time.sleep(1.01)

    assert first.status_code == 200
    assert limited(second) == ("cooldown", 1)
    assert wire.reset().status_code == 200


def test_the_cool_down_holds_for_both_channels_of_one_user_alone(client):
    wire = Wire(client, user_cooldown_seconds=60.0)
    a_user(wire.services, "bob")
    wire.reset()

    assert limited(wire.reset(body=SMS)) is not None
    assert wire.reset("bob").status_code == 200


def test_a_mail_costs_no_sms_budget(client):
    wire = Wire(client, sms_budget_per_day=1)

    assert [wire.reset().status_code for _ in range(3)] == [200] * 3
    assert [wire.reset(body=SMS).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("own", "answers"),
    [({}, [200, 200, 200]), ({"fallback": True}, [200, 429, 429])],
    ids=["own alone", "with the installation's behind"],
)
def test_sms_of_an_own_account_cost_the_installations_budget_nothing(client, own, answers):
    wire = Wire(client, sms_budget_per_day=1)
    save_sender(wire.services, {"sms": {"twilio": TWILIO} | own})

    assert [wire.reset(body=SMS).status_code for _ in answers] == answers
    assert counters(wire).get("sms_budget", 0) == answers.count(200) % 3


def test_the_limit_of_one_organisation_leaves_another_alone(client):
    wire = Wire(client, org_limit_per_minute=1)
    a_user(wire.services, "bob", orgId="beta")
    owner = a_token(wire.services, instance=("IAM_OWNER",))
    wire.reset()

    assert wire.reset().status_code == 429
    assert wire.reset("bob", token=owner, x_zitadel_orgid="beta").status_code == 200


def test_the_limit_of_one_caller_leaves_another_alone(client):
    wire = Wire(client, caller_limit_per_minute=1)
    wire.reset()

    assert wire.reset().status_code == 429
    assert wire.reset(token=a_token(wire.services, "ORG_OWNER")).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}], ids=["plain", "with a key"])
def test_a_refusal_by_the_users_limit_gives_the_other_counts_back(client, headers):
    wire = Wire(
        client,
        user_cooldown_seconds=60.0,
        org_limit_per_minute=2,
        caller_limit_per_minute=2,
        sms_budget_per_day=2,
    )
    a_user(wire.services, "bob")
    assert wire.reset(body=SMS).status_code == 200

    refused = [limited(wire.reset(body=SMS, **headers))[0] for _ in range(5)]

    assert refused == ["cooldown"] * 5
    assert counters(wire) == {"organisation": 1, "caller": 1, "sms_budget": 1}
    assert wire.reset("bob", body=SMS).status_code == 200


@pytest.mark.parametrize(
    ("user_id", "fields"),
    [("nobody", None), ("eve", {"state": "locked"}), ("eve", {"phone": None})],
    ids=["unknown", "locked", "no phone"],
)
def test_a_call_refused_for_its_user_counts_nothing(client, user_id, fields):
    wire = Wire(client, org_limit_per_minute=5, caller_limit_per_minute=5, sms_budget_per_day=5)
    if fields:
        a_user(wire.services, user_id, **fields)

    response = wire.reset(user_id, body=SMS)

    assert response.status_code == 400
    assert counters(wire) == {}


def test_a_call_without_a_provider_counts_nothing(client):
    wire = Wire(client, email_providers=(), org_limit_per_minute=5, user_cooldown_seconds=60.0)

    assert wire.reset().status_code == 503
    assert counters(wire) == {}


@pytest.mark.parametrize("language", ["de", "fr"])
def test_a_limit_says_so_in_every_language(client, language):
    wire = Wire(client, user_cooldown_seconds=60.0)
    wire.reset()

    response = wire.reset(Accept_Language=language)

    assert "(cooldown; " in response.get_json()["message"]
    assert f"{response.headers['Retry-After']} s)" in response.get_json()["message"]


@pytest.mark.real_server
@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"user_cooldown_seconds": 60.0}, 1),
        ({"user_limit_per_hour": 5}, 5),
        ({"org_limit_per_minute": 7}, 7),
        ({"caller_limit_per_minute": 3}, 3),
    ],
    ids=["cool-down", "hour", "organisation", "caller"],
)
def test_a_limit_holds_among_many_at_once(real_client, settings, allowed):
    wire = Wire(real_client, **settings)

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: wire.reset().status_code, range(40)))

    assert answers.count(200) == allowed
    assert answers.count(429) == 40 - allowed
    assert len(wire.records()) == allowed


def test_limits_are_named_before_and_after_they_are_reached(client):
    wire = Wire(client, user_cooldown_seconds=60.0, user_limit_per_hour=5)
    first, second = wire.reset(), wire.reset()

    policy = first.headers["RateLimit-Policy"]
    assert re.fullmatch(r'"[a-z_]+";q=\d+;w=\d+(, "[a-z_]+";q=\d+;w=\d+)*', policy)
    assert '"user_hour";q=5;w=3600' in policy
    assert "RateLimit" not in first.headers
    assert second.status_code == 429
    assert second.headers["RateLimit-Policy"] == policy
    seconds = second.headers["Retry-After"]
    assert second.headers["RateLimit"] == f'"cooldown";r=0;t={seconds}'
