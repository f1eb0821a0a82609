"""What is answered without Flask, beside the same through Flask, which answers long bodies."""

from __future__ import annotations

import pytest

from tests.support.wire import BARE, V1, Wire

V2 = "/v2/users/{}/password_reset"
SPACE = b" " * 1000  # makes a body long and changes nothing else
OWN_HEADERS = ("Keyturn-Reset-Id", "Content-Length", "X-Request-Id")

REQUESTS = {
    "plain": {},
    "no body": {"body": b""},
    "sms": {"body": b'{"type":"TYPE_SMS"}'},
    "body's user": {"body": b'{"userId":"grace"}'},
    "no JSON": {"body": b"x"},
    "no type": {"body": b'{"type":"TYPE_PIGEON"}'},
    "twice": {"body": b'{"type":0,"type":1}'},
    "no such user": {"user_id": "grace"},
    "no token": {"token": "kt_pat_" + "x" * 43},
    "no organisation": {"x_zitadel_orgid": "nowhere"},
    "key": {"Idempotency_Key": "k"},
    "bad key": {"Idempotency_Key": "k k"},
    "language": {"body": b"x", "Accept_Language": "de"},
    "origin": {"Origin": "https://app.example"},
}


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client, user_cooldown_seconds=0.0, user_limit_per_hour=0)


def told(response):
    """What an answer says, without what is another's for each request."""
    headers = {name: value for name, value in response.headers if name not in OWN_HEADERS}
    body = response.get_json()
    if response.status_code == 200:
        body = body | {"details": sorted(body["details"])}
    return response.status_code, headers, body


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("path", [V1, BARE, V2])
def test_both_ways_answer_alike(wire, path, asked):
    body = asked.get("body", b"{}")
    if asked.get("Idempotency_Key") == "k":
        wire.reset(path=path, **asked | {"body": body})  # both repeat it

    direct = wire.reset(path=path, **asked | {"body": body})
    by_flask = wire.reset(path=path, **asked | {"body": body + SPACE})

    assert told(direct) == told(by_flask)
    assert ("Keyturn-Reset-Id" in direct.headers) == (direct.status_code == 200)
    assert len(direct.data) == int(direct.headers["Content-Length"])


@pytest.mark.parametrize("user_id", ["a%2fda", "ada%0a", "%C3%A4da", "a da", "ada/", "%2e%2e"])
def test_an_id_that_is_not_plain_is_as_unknown_as_before(wire, user_id):
    direct, by_flask = wire.reset(user_id, body=b"{}"), wire.reset(user_id, body=b"{}" + SPACE)

    assert told(direct) == told(by_flask)
    assert direct.status_code in (400, 404)
    assert wire.records() == []


@pytest.mark.parametrize("given", ["mine", None])
@pytest.mark.parametrize("token", [None, "kt_pat_x"])
def test_an_answer_has_the_request_id_of_its_log_lines(wire, given, token):
    headers = {"X_Request_Id": given} if given else {}
    response = wire.reset(body=b"{}", token=token, **headers)

    found = response.headers["X-Request-Id"]
    assert found == given or (given is None and len(found) == 16)
    assert response.headers.getlist("X-Request-Id") == [found]
    if response.status_code == 200:
        reset = wire.services.resets.find(response.headers["Keyturn-Reset-Id"])
        assert reset.request_id == found


def test_a_failure_of_ours_is_answered_by_flask(wire, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("never shown")

    monkeypatch.setattr(wire.services.directory, "find_user", fail)

    response = wire.reset(body=b"{}")

    assert response.status_code == 500
    assert b"never" not in response.data


def test_a_body_that_was_read_before_is_read_by_its_own_call(wire):
    body = b'{"sendLink":{"notificationType":"NOTIFICATION_TYPE_SMS"}}'

    channels = [wire.channel_of(wire.reset(path=path, body=body)) for path in (V1, V2, V1, V2)]

    assert channels == ["email", "sms", "email", "sms"]
