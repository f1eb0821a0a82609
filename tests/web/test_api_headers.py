from __future__ import annotations

import dataclasses
import logging

import pytest

from tests.support.builders import PUBLIC_URL
from tests.support.wire import BARE, V1, Wire, problem
from web.app import create_app

SUCCESSOR = f'<{PUBLIC_URL}/v2/users/ada/password_reset>; rel="successor-version"'
TOO_LARGE = b" " * 65_537


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


ANSWERS = {
    "200": (lambda wire, path: wire.reset(path=path), 200),
    "400 body": (lambda wire, path: wire.reset(body=b"x", path=path), 400),
    "401": (lambda wire, path: wire.call(path.format("ada")), 401),
    "403": (lambda wire, path: wire.reset(path=path, x_zitadel_orgid="nowhere"), 403),
    "404 membership": (lambda wire, path: wire.reset(path=path, x_zitadel_orgid="beta"), 404),
    "405 GET": (lambda wire, path: wire.call(path.format("ada"), method="GET"), 405),
    "405 HEAD": (lambda wire, path: wire.call(path.format("ada"), method="HEAD"), 405),
    "405 OPTIONS": (lambda wire, path: wire.call(path.format("ada"), method="OPTIONS"), 405),
    "405 DELETE": (lambda wire, path: wire.call(path.format("ada"), method="DELETE"), 405),
    "405 BREW": (lambda wire, path: wire.call(path.format("ada"), method="BREW"), 405),
    "413": (lambda wire, path: wire.reset(body=TOO_LARGE, path=path), 413),
}


@pytest.mark.parametrize(("ask", "status"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("path", [V1, BARE], ids=["prefixed", "bare"])
def test_every_answer_of_the_v1_call_says_that_it_is_deprecated(wire, path, ask, status):
    response = ask(wire, path)

    assert response.status_code == status
    assert response.headers["Deprecation"] == "@1735689600"
    assert response.headers["Link"] == SUCCESSOR


OTHERS = {
    "unknown path": lambda wire: wire.call("/nothing"),
    "root": lambda wire: wire.call("/", method="GET"),
    "status call": lambda wire: wire.show("0unknown"),
    "status call with a wrong method": lambda wire: wire.call("/keyturn/v1/resets/x"),
    "livez": lambda wire: wire.call("/livez", method="GET"),
    "v2": lambda wire: wire.reset(path="/v2/users/{}/password_reset"),
}


@pytest.mark.parametrize("ask", OTHERS.values(), ids=OTHERS)
def test_no_other_answer_says_that_it_is_deprecated(wire, ask):
    response = ask(wire)

    assert "Deprecation" not in response.headers
    assert "Link" not in response.headers


@pytest.mark.parametrize(
    "ask",
    [*(lambda wire, ask=ask: ask(wire, V1) for ask, _ in ANSWERS.values()), *OTHERS.values()],
    ids=[*ANSWERS, *OTHERS],
)
def test_every_answer_is_named_and_not_to_be_stored(wire, ask):
    response = ask(wire)

    assert response.headers["Cache-Control"] == "no-store"
    assert len(response.headers["X-Request-Id"]) >= 16
    assert response.mimetype == "application/json"


def test_two_requests_have_different_ids(wire):
    first, second = wire.reset(), wire.reset()

    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert first.headers["Keyturn-Reset-Id"] != second.headers["Keyturn-Reset-Id"]


def test_a_callers_request_id_is_kept_to_the_record(wire):
    response = wire.reset(X_Request_Id="trace-1/2:3")

    assert response.headers["X-Request-Id"] == "trace-1/2:3"
    told = wire.show(response.headers["Keyturn-Reset-Id"]).get_json()
    assert told["requestId"] == "trace-1/2:3"


@pytest.mark.parametrize("given", ["", " ", "a b", "\x01", "ä", "x" * 129])
def test_a_request_id_that_would_do_harm_is_replaced(wire, given):
    response = wire.reset(X_Request_Id=given)

    assert response.headers["X-Request-Id"] not in ("", given)


def test_success_is_told_exactly_so(wire):
    response = wire.reset()
    details = response.get_json().pop("details")

    assert response.status_code == 200
    assert set(response.get_json()) == {"details"}
    assert set(details) == {"sequence", "creationDate", "changeDate", "resourceOwner"}
    assert details["sequence"] == "1"
    assert details["resourceOwner"] == "acme"
    assert details["creationDate"] == details["changeDate"]
    assert_is_rfc_3339_with_microseconds(details["creationDate"])


def test_the_sequence_counts_the_events_of_this_user(wire):
    told = [wire.reset().get_json()["details"]["sequence"] for _ in range(3)]

    assert told == ["1", "2", "3"]


def assert_is_rfc_3339_with_microseconds(text):
    from datetime import datetime

    assert text.endswith("Z")
    assert len(text) == len("2026-11-23T12:00:00.123456Z")
    assert datetime.fromisoformat(text).tzinfo is not None


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        (V1.format("ada"), "GET", "POST"),
        (V1.format("ada"), "PUT", "POST"),
        (V1.format("ada"), "PATCH", "POST"),
        (V1.format("ada"), "DELETE", "POST"),
        (V1.format("ada"), "OPTIONS", "POST"),
        (V1.format("ada"), "TRACE", "POST"),
        (BARE.format("ada"), "GET", "POST"),
        ("/keyturn/v1/resets/x", "POST", "GET, HEAD"),
        ("/livez", "POST", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_which_are_right(wire, path, method, allowed):
    response = wire.call(path, method=method)

    assert response.get_json() == {"code": 12, "message": "Method Not Allowed"}
    assert response.status_code == 405
    assert response.headers["Allow"] == allowed


UNKNOWN_PATHS = [
    "/nothing",
    "/management/v1/users/ada/password/_reset/",
    "/users/ada/password/_reset/",
    "/management/v1/users//password/_reset",
    "/users//password/_reset",
    "//users/ada/password/_reset",
    "/management/v1//users/ada/password/_reset",
    "/management/v1/users/a/b/password/_reset",
    "/management/v1/users/a%2Fb/password/_reset",
    "/users/a%2Fb/password/_reset",
    "/users/%2F/password/_reset",
    "/users/ada/password/_RESET",
    "/management/v2/users/ada/password/_reset",
    "/favicon.ico",
    "/static/x",
    "/keyturn/v1/resets/",
    "/keyturn/v1/resets/a/b",
    "/%00",
    "/<script>",
]


def test_the_root_is_unknown_outside_of_development(wire):
    response = wire.call("/", method="GET", headers=wire.headers())

    assert (response.status_code, response.get_json()["message"]) == (404, "Not Found")


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_an_unknown_path_is_told_as_json(wire, path, method):
    response = wire.call(path, method=method, headers=wire.headers())

    assert response.status_code == 404
    assert response.get_json() == {"code": 5, "message": "Not Found"}


def test_head_of_the_status_call_has_no_body(wire):
    reset_id = wire.reset().headers["Keyturn-Reset-Id"]

    response = wire.call(f"/keyturn/v1/resets/{reset_id}", method="HEAD", headers=wire.headers())

    assert response.status_code == 200
    assert response.data == b""


class BrokenDirectory:
    """Fails in a way nobody thought of."""

    def find_user(self, _user_id):
        raise RuntimeError("a secret detail")


@pytest.mark.parametrize("path", [V1, BARE], ids=["prefixed", "bare"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}], ids=["plain", "with a key"])
def test_an_unexpected_failure_tells_nothing(wire, path, headers, caplog):
    wire.app = create_app(dataclasses.replace(wire.services, directory=BrokenDirectory()))
    caplog.set_level(logging.CRITICAL)

    response = wire.reset(path=path, **headers)

    assert problem(response) == (500, 13, None)
    assert "details" not in response.get_json()
    for word in ("secret", "Traceback", "RuntimeError", "<"):
        assert word not in response.get_data(as_text=True)
    assert response.headers["X-Request-Id"]
    assert response.headers["Deprecation"]
    assert wire.redis.keys("kt:idem:*") == []


@pytest.mark.parametrize("secret", ["kt_pat_" + "s" * 43])
def test_no_answer_repeats_a_token(wire, secret):
    response = wire.reset(token=secret)

    assert secret not in response.get_data(as_text=True) + str(response.headers)
