from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shared.store.idempotency import LIFETIME_SECONDS
from tests.support.builders import a_token, a_user
from tests.support.wire import BARE, Wire, problem

MISMATCH = (400, 9, "KEYTURN-IdempotencyMismatch")
SMS = {"type": "TYPE_SMS"}
THREADS = 20


@pytest.fixture
def wire(client):
    return Wire(client)


def told(response):
    """What must be the same when an answer is repeated."""
    assert response.status_code == 200, response.get_json()
    return response.get_json(), response.headers["Keyturn-Reset-Id"]


def keys_kept(wire):
    return wire.redis.keys("kt:idem:*")


def test_the_same_key_gives_the_same_answer_without_a_second_message(wire):
    first = wire.reset(Idempotency_Key="k")
    second = wire.reset(Idempotency_Key="k")

    assert told(second) == told(first)
    assert len(wire.records()) == 1
    assert len(wire.hints.published) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b" \n", b"{}", b'{"type":"TYPE_EMAIL"}', b'{"type":0}', b'{"type":null}', b'{"x":1}'],
)
def test_bodies_of_one_meaning_are_the_same_request(wire, body):
    first = wire.reset(Idempotency_Key="k")

    assert told(wire.reset(body=body, Idempotency_Key="k")) == told(first)


def test_both_paths_are_the_same_call(wire):
    first = wire.reset(Idempotency_Key="k")

    assert told(wire.reset(path=BARE, Idempotency_Key="k")) == told(first)


def test_another_meaning_is_a_mismatch(wire):
    wire.reset(Idempotency_Key="k")

    assert problem(wire.reset(body=SMS, Idempotency_Key="k")) == MISMATCH


def test_another_user_is_a_mismatch(wire):
    a_user(wire.services, "bob")
    wire.reset(Idempotency_Key="k")

    assert problem(wire.reset("bob", Idempotency_Key="k")) == MISMATCH
    assert problem(wire.reset("nobody", Idempotency_Key="k")) == MISMATCH
    assert len(wire.records()) == 1


def test_another_call_is_a_mismatch(wire):
    wire.reset(Idempotency_Key="k")

    response = wire.reset(path="/v2/users/{}/password_reset", Idempotency_Key="k")

    assert problem(response) == MISMATCH


def test_another_organisation_in_force_is_a_mismatch(wire):
    token = a_token(wire.services, instance=("IAM_OWNER",))
    wire.reset(token=token, Idempotency_Key="k")

    response = wire.reset(token=token, x_zitadel_orgid="beta", Idempotency_Key="k")

    assert problem(response) == MISMATCH


def test_a_mismatch_leaves_the_first_answer_in_place(wire):
    first = wire.reset(Idempotency_Key="k")
    wire.reset(body=SMS, Idempotency_Key="k")

    assert told(wire.reset(Idempotency_Key="k")) == told(first)


def test_keys_are_told_apart_exactly(wire):
    answers = [told(wire.reset(Idempotency_Key=key)) for key in ("k", "K", "kk")]

    assert len({reset_id for _, reset_id in answers}) == 3


def test_a_key_belongs_to_its_caller(wire):
    another = a_token(wire.services, "ORG_OWNER")
    a_user(wire.services, "bob")
    first = wire.reset(Idempotency_Key="k")

    second = wire.reset("bob", token=another, Idempotency_Key="k")

    assert told(second) != told(first)


BAD_KEYS = {
    "empty": "",
    "too long": "x" * 256,
    "blank": "a b",
    "tab": "a\tb",
    "control character": "a\x01",
    "delete": "a\x7f",
    "latin": "clé",
    "emoji": "🎉".encode().decode("latin-1"),
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_is_refused(wire, key):
    response = wire.reset(Idempotency_Key=key)

    assert problem(response) == (400, 3, None)
    assert wire.records() == []


@pytest.mark.parametrize("key", ["x", "!~", '"quoted"', "{kt:gate}", "x" * 255])
def test_any_visible_ascii_is_a_key(wire, key):
    assert told(wire.reset(Idempotency_Key=key)) == told(wire.reset(Idempotency_Key=key))


def test_a_refusal_is_not_kept(wire):
    a_user(wire.services, "eve", state="locked")
    refused = wire.reset("eve", Idempotency_Key="k")
    a_user(wire.services, "eve", state="active")

    answered = wire.reset("eve", Idempotency_Key="k")

    assert problem(refused) == (400, 9, "KEYTURN-Inactive")
    assert answered.status_code == 200


def test_a_refusal_leaves_the_key_free_for_another_request(wire):
    wire.reset("nobody", Idempotency_Key="k")

    assert keys_kept(wire) == []
    assert wire.reset(Idempotency_Key="k").status_code == 200


def test_what_is_refused_before_the_key_counts_does_not_use_it(wire):
    wire.reset(body={"type": 7}, Idempotency_Key="k")
    wire.reset(token="x", Idempotency_Key="k")

    assert keys_kept(wire) == []


@pytest.mark.parametrize("limit", ["user_cooldown_seconds", "org_limit_per_minute"])
def test_a_repeated_call_passes_the_limits_that_would_refuse_a_new_one(client, limit):
    wire = Wire(client, **{limit: 1 if "org" in limit else 60.0})
    first = wire.reset(Idempotency_Key="k")

    assert told(wire.reset(Idempotency_Key="k")) == told(first)
    assert problem_id(wire.reset(Idempotency_Key="new")) == "KEYTURN-RateLimited"


def test_a_repeated_call_is_answered_although_the_user_is_locked_by_now(wire):
    first = wire.reset(Idempotency_Key="k")
    a_user(wire.services, state="locked")

    assert told(wire.reset(Idempotency_Key="k")) == told(first)


def test_a_repeated_call_still_needs_its_permission(wire):
    token = a_token(wire.services, "ORG_OWNER")
    wire.reset(token=token, Idempotency_Key="k")
    wire.services.callers.revoke_token(wire.services.callers.find_caller(token).token_id)
    wire.app.extensions["keyturn"].auth.forget()

    assert problem(wire.reset(token=token, Idempotency_Key="k")) == (401, 16, "AUTH-7fs1e")


def test_a_key_is_kept_for_24_hours(wire):
    wire.reset(Idempotency_Key="k")
    (place,) = keys_kept(wire)

    assert LIFETIME_SECONDS - 60 < wire.redis.ttl(place) <= LIFETIME_SECONDS


def test_after_24_hours_a_key_makes_a_new_reset(wire):
    first = wire.reset(Idempotency_Key="k")
    (place,) = keys_kept(wire)
    wire.redis.pexpire(place, 0)

    second = wire.reset(Idempotency_Key="k")

    assert told(second) != told(first)
    assert len(wire.records()) == 2


def test_a_key_is_stored_as_a_digest(wire):
    wire.reset(Idempotency_Key="a-key-that-is-told-to-nobody")
    (place,) = keys_kept(wire)

    assert "a-key" not in place + str(wire.redis.hgetall(place))


def at_once(*calls):
    """The answers of calls that begin at the same moment."""
    barrier = Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@pytest.mark.real_server
@pytest.mark.parametrize(
    "settings",
    [{}, {"user_cooldown_seconds": 60.0}, {"org_limit_per_minute": 1}, {"user_limit_per_hour": 1}],
    ids=["no limits", "cool-down", "one for the organisation", "one an hour"],
)
def test_many_with_one_key_get_one_answer(real_client, settings):
    wire = Wire(real_client, **settings)

    answers = at_once(*[lambda: wire.reset(Idempotency_Key="k")] * THREADS)

    assert all(told(answer) == told(answers[0]) for answer in answers)
    assert len(wire.records()) == 1


@pytest.mark.real_server
def test_many_with_one_key_count_once(real_client):
    wire = Wire(real_client, org_limit_per_minute=2, caller_limit_per_minute=2)
    a_user(wire.services, "bob")

    at_once(*[lambda: wire.reset(Idempotency_Key="k")] * THREADS)

    assert wire.reset("bob").status_code == 200
    assert problem_id(wire.reset("bob")) == "KEYTURN-RateLimited"


@pytest.mark.real_server
def test_of_many_users_with_one_key_one_wins(real_client):
    wire = Wire(real_client)
    names = [a_user(wire.services, f"user-{number}") for number in range(THREADS)]

    answers = at_once(*[lambda name=name: wire.reset(name, Idempotency_Key="k") for name in names])

    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (THREADS - 1)
    assert {problem(each) for each in answers if each.status_code == 400} == {MISMATCH}
    assert len(wire.records()) == 1


@pytest.mark.real_server
def test_many_refused_with_one_key_leave_it_free(real_client):
    wire = Wire(real_client)
    a_user(wire.services, "eve", state="locked")

    at_once(*[lambda: wire.reset("eve", Idempotency_Key="k")] * THREADS)

    assert keys_kept(wire) == []
    assert wire.reset(Idempotency_Key="k").status_code == 200


def problem_id(response):
    return response.get_json()["details"][0]["id"]


def test_a_repeat_says_that_it_is_one(wire):
    first, second = wire.reset(Idempotency_Key="k"), wire.reset(Idempotency_Key="k")
    other = wire.reset("ada", path="/v2/users/{}/password_reset")

    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in other.headers
