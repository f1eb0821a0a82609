"""Connect's unary calls, byte by byte."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode

import pytest
from google.rpc import error_details_pb2

from tests.support.builders import a_user
from tests.support.rpc import PASSWORD_RESET, SET_PASSWORD, V1, Notification
from tests.support.wire import Wire
from web.rpc.generated.management_pb2 import SendHumanResetPasswordNotificationResponse as Notified
from web.rpc.generated.user_pb2 import PasswordResetRequest, PasswordResetResponse
from web.rpc.generated.zitadel_pb2 import ErrorDetail

JSON, PROTO = "application/json", "application/proto"


def call(wire, path, body, *, kind=JSON, method="POST", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body)
    given = wire.headers(headers.pop("token", None), **headers)
    return wire.call(path, method=method, data=data, content_type=kind, headers=given)


def refusal(response) -> tuple[int, str, str | None]:
    """HTTP status, code and id, whose shape is checked on the way."""
    assert response.mimetype == "application/json"
    body = response.get_json()
    assert set(body) <= {"code", "message", "details"}
    details = body.get("details")
    if details is None:
        return response.status_code, body["code"], None
    assert details[0]["type"] == "zitadel.v1.ErrorDetail"
    value = details[0]["value"]
    assert "=" not in value
    detail = ErrorDetail.FromString(b64decode(value + "=" * (-len(value) % 4)))
    assert details[0]["debug"] == {"id": detail.id, "message": detail.message}
    assert body["message"] == f"{detail.message} ({detail.id})"
    return response.status_code, body["code"], detail.id


def test_the_v1_call_answers_as_rest_does(wire):
    response = call(wire, V1, {"userId": "ada", "type": "TYPE_SMS"}, X_Request_Id="r-1")

    assert response.status_code == 200
    assert response.mimetype == JSON
    assert response.headers["X-Request-Id"] == "r-1"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers.getlist("Deprecation") == ["@1735689600"]
    link = response.headers.getlist("Link")
    assert link == [f'<https://reset.example.com{PASSWORD_RESET}>; rel="successor-version"']
    assert wire.channel_of(response) == "sms"
    details = response.get_json()["details"]
    assert set(details) == {"sequence", "creationDate", "changeDate", "resourceOwner"}


def test_a_binary_message_gets_a_binary_answer(wire):
    sent = Notification(user_id="ada", type=1).SerializeToString()

    response = call(wire, V1, sent, kind=PROTO)

    assert response.mimetype == PROTO
    assert Notified.FromString(response.data).details.resource_owner == "acme"
    assert wire.channel_of(response) == "sms"


@pytest.mark.parametrize("kind", [JSON, PROTO], ids=["JSON", "proto"])
def test_a_returned_code_sets_a_password(wire, kind):
    if kind == JSON:
        asked = call(wire, PASSWORD_RESET, {"userId": "ada", "returnCode": {}})
        code = asked.get_json()["verificationCode"]
    else:
        wanted = PasswordResetRequest(user_id="ada", return_code={})
        asked = call(wire, PASSWORD_RESET, wanted.SerializeToString(), kind=PROTO)
        code = PasswordResetResponse.FromString(asked.data).verification_code
    body = {
        "user_id": "ada",
        "new_password": {"password": "Correct-Horse-1"},
        "verification_code": code,
    }

    response = call(wire, SET_PASSWORD, body)

    assert response.status_code == 200
    assert response.get_json()["details"]["resourceOwner"] == "acme"


def test_a_body_may_be_compressed(wire):
    body = gzip.compress(b'{"userId":"ada"}')

    response = call(wire, V1, body, Content_Encoding="gzip", Connect_Protocol_Version="1")

    assert response.status_code == 200


ADA = {"userId": "ada"}
REFUSALS = {
    "empty body": (V1, b"", {}, (400, "invalid_argument", None)),
    "white space": (V1, b" \n", {}, (400, "invalid_argument", None)),
    "no JSON": (V1, b"{", {}, (400, "invalid_argument", None)),
    "list": (V1, b"[]", {}, (400, "invalid_argument", None)),
    "no message": (V1, b"\xff", {"kind": PROTO}, (400, "invalid_argument", None)),
    "no user": (V1, {}, {}, (400, "invalid_argument", None)),
    "unknown name": (V1, ADA | {"type": "TYPE_PIGEON"}, {}, (400, "invalid_argument", None)),
    "unknown number": (V1, ADA | {"type": 2}, {}, (400, "invalid_argument", None)),
    "twice": (V1, b'{"userId":"a","user_id":"a"}', {}, (400, "invalid_argument", None)),
    "both media": (
        PASSWORD_RESET,
        ADA | {"sendLink": {}, "returnCode": {}},
        {},
        (400, "invalid_argument", None),
    ),
    "another version": (
        V1,
        ADA,
        {"Connect_Protocol_Version": "2"},
        (400, "invalid_argument", None),
    ),
    "no timeout": (V1, ADA, {"Connect_Timeout_Ms": "1s"}, (400, "invalid_argument", None)),
    "too late": (V1, ADA, {"Connect_Timeout_Ms": "0"}, (504, "deadline_exceeded", None)),
    "too large": (V1, b" " * 65537, {}, (429, "resource_exhausted", None)),
    "too large inside": (
        V1,
        gzip.compress(b" " * 65537),
        {"Content_Encoding": "gzip"},
        (429, "resource_exhausted", None),
    ),
    "no gzip": (V1, b"{}", {"Content_Encoding": "gzip"}, (400, "invalid_argument", None)),
    "brotli": (V1, b"{}", {"Content_Encoding": "br"}, (501, "unimplemented", None)),
    "unknown token": (V1, ADA, {"token": "x"}, (401, "unauthenticated", "AUTH-7fs1e")),
    "unknown name without a token": (
        V1,
        ADA | {"type": "TYPE_PIGEON"},
        {"token": "x"},
        (401, "unauthenticated", "AUTH-7fs1e"),
    ),
    "unknown organisation": (
        V1,
        ADA,
        {"x_zitadel_orgid": "nowhere"},
        (403, "permission_denied", "AUTH-Bs7Ds"),
    ),
    "unknown user": (
        V1,
        {"userId": "nobody"},
        {},
        (400, "failed_precondition", "COMMAND-Hj9ds"),
    ),
    "unknown user, binary": (
        V1,
        Notification(user_id="nobody").SerializeToString(),
        {"kind": PROTO},
        (400, "failed_precondition", "COMMAND-Hj9ds"),
    ),
    "unknown user, v2": (
        PASSWORD_RESET,
        {"userId": "nobody"},
        {},
        (404, "not_found", "COMMAND-SAF4f"),
    ),
    "weak password": (
        SET_PASSWORD,
        ADA | {"newPassword": {"password": "x"}},
        {},
        (400, "invalid_argument", "DOMAIN-HuJf6"),
    ),
    "unknown call": (
        "/zitadel.user.v2.UserService/DeleteUser",
        {},
        {},
        (404, "unimplemented", None),
    ),
}


@pytest.mark.parametrize(("path", "body", "more", "told"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_told(wire, path, body, more, told):
    assert refusal(call(wire, path, body, **more)) == told
    assert wire.records() == []


def test_who_has_no_token_learns_how_to_show_one(wire):
    response = wire.call(V1, data="{}", content_type=JSON)

    assert refusal(response) == (401, "unauthenticated", None)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["X-Request-Id"]


def test_a_limit_says_when_to_come_back(fake_client):
    wire = Wire(fake_client, user_cooldown_seconds=60.0)
    call(wire, V1, ADA)

    response = call(wire, V1, ADA)

    assert refusal(response) == (429, "resource_exhausted", "KEYTURN-RateLimited")
    assert 0 < int(response.headers["Retry-After"]) <= 60
    retry = response.get_json()["details"][1]
    assert retry["type"] == "google.rpc.RetryInfo"
    sent = error_details_pb2.RetryInfo.FromString(b64decode(retry["value"] + "=="))
    assert sent.retry_delay.seconds == int(response.headers["Retry-After"])


def test_the_message_follows_the_callers_language(wire):
    response = call(wire, V1, {"userId": "nobody"}, Accept_Language="de")

    message = response.get_json()["message"]
    assert message.endswith("(COMMAND-Hj9ds)")
    assert not message.startswith("User could")


def test_a_key_gives_the_same_reset_over_every_protocol(wire):
    over_rest = wire.reset(Idempotency_Key="k-1")

    response = call(wire, V1, ADA, Idempotency_Key="k-1")

    assert response.headers["Keyturn-Reset-Id"] == over_rest.headers["Keyturn-Reset-Id"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_any_method_but_post_is_refused(wire, method):
    response = wire.call(V1, method=method)

    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert response.headers.getlist("Deprecation") == ["@1735689600"]


@pytest.mark.parametrize("kind", ["text/plain", "application/connect+json", "application/xml", ""])
def test_an_unknown_content_type_is_refused(wire, kind):
    response = call(wire, V1, ADA, kind=kind)

    assert response.status_code == 415
    assert {JSON, PROTO, "application/grpc-web+proto"} <= set(
        response.headers["Accept-Post"].split(", ")
    )


def test_a_content_type_may_have_parameters(wire):
    assert call(wire, V1, ADA, kind="Application/JSON; charset=utf-8").status_code == 200


@pytest.mark.parametrize("path", [V1, PASSWORD_RESET, SET_PASSWORD])
def test_a_browser_may_ask_from_another_site(wire, path):
    response = wire.call(
        path,
        method="OPTIONS",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,connect-protocol-version",
        },
    )

    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "POST"
    allowed = {
        name.lower() for name in response.headers["Access-Control-Allow-Headers"].split(", ")
    }
    assert {
        "authorization", "content-type", "connect-protocol-version", "connect-timeout-ms",
        "x-grpc-web", "grpc-timeout", "x-user-agent", "x-zitadel-orgid", "idempotency-key",
    } <= allowed  # fmt: skip


@pytest.mark.parametrize("body", [ADA, {"userId": "nobody"}], ids=["success", "refusal"])
def test_a_browser_may_read_the_headers(wire, body):
    response = call(wire, V1, body, Origin="https://shop.example")

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    exposed = {n.lower() for n in response.headers["Access-Control-Expose-Headers"].split(", ")}
    assert {
        "grpc-status", "grpc-message", "grpc-status-details-bin", "keyturn-reset-id",
        "x-request-id",
    } <= exposed  # fmt: skip


def test_an_error_of_ours_tells_no_details(wire):
    def fail(_user_id):
        raise ZeroDivisionError("secret")

    wire.services.directory.find_user = fail

    response = call(wire, V1, ADA)

    assert refusal(response) == (500, "internal", None)
    assert b"secret" not in response.data


def test_a_user_with_a_slash_in_the_id_is_merely_unknown(wire):
    a_user(wire.services, "bob", email="bob@example.com")

    assert refusal(call(wire, V1, {"userId": "a/b"}))[2] == "COMMAND-Hj9ds"
