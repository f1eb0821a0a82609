"""gRPC-Web, byte by byte."""

from __future__ import annotations

import gzip
from base64 import b64decode, b64encode
from urllib.parse import unquote

import pytest
from google.rpc import status_pb2

from tests.support.builders import a_user
from tests.support.rpc import PASSWORD_RESET, V1, Notification
from tests.support.wire import BARE
from tests.support.wire import V1 as REST
from web.rpc.generated.management_pb2 import SendHumanResetPasswordNotificationResponse as Notified
from web.rpc.generated.user_pb2 import PasswordResetRequest
from web.rpc.generated.zitadel_pb2 import ErrorDetail

WEB, WEB_PROTO = "application/grpc-web", "application/grpc-web+proto"
TEXT, TEXT_PROTO = "application/grpc-web-text", "application/grpc-web-text+proto"
ADA = Notification(user_id="ada", type=1)


def frame(content: bytes, *, flags: int = 0) -> bytes:
    return bytes([flags]) + len(content).to_bytes(4, "big") + content


def call(wire, body, *, path=V1, kind=WEB_PROTO, **headers):
    data = body if isinstance(body, bytes) else frame(body.SerializeToString())
    given = wire.headers(headers.pop("token", None), X_Grpc_Web="1", **headers)
    return wire.call(path, data=data, content_type=kind, headers=given)


def parts_of(response) -> tuple[bytes | None, dict[str, str]]:
    """The message and the trailers of a body."""
    assert response.status_code == 200
    rest = b64decode(response.data) if "text" in response.mimetype else response.data
    message, trailers = None, None
    while rest:
        size = int.from_bytes(rest[1:5], "big")
        content, flags, rest = rest[5 : 5 + size], rest[0], rest[5 + size :]
        if flags == 0x80:
            assert trailers is None
            lines = content.decode("ascii").splitlines()
            trailers = dict(line.split(": ", 1) for line in lines)
        else:
            assert (flags, message, trailers) == (0, None, None)
            message = content
    assert trailers is not None
    return message, trailers


def refusal(response) -> tuple[int, str | None]:
    """The code and the id, whose shape is checked on the way."""
    message, trailers = parts_of(response)
    assert message is None
    code, sent = int(trailers["grpc-status"]), trailers.get("grpc-status-details-bin")
    if sent is None:
        return code, None
    assert "=" not in sent
    status = status_pb2.Status.FromString(b64decode(sent + "=" * (-len(sent) % 4)))
    assert (status.code, status.message) == (code, unquote(trailers["grpc-message"]))
    detail = ErrorDetail()
    assert status.details[0].Unpack(detail)
    return code, detail.id


@pytest.mark.parametrize("kind", [WEB, WEB_PROTO])
def test_a_call_records_a_reset(wire, kind):
    response = call(wire, ADA, kind=kind)

    message, trailers = parts_of(response)
    assert response.mimetype == kind
    assert trailers == {"grpc-status": "0"}
    assert Notified.FromString(message).details.resource_owner == "acme"
    assert wire.channel_of(response) == "sms"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("kind", [TEXT, TEXT_PROTO])
def test_a_call_may_travel_as_text(wire, kind):
    response = call(wire, b64encode(frame(ADA.SerializeToString())), kind=kind)

    assert response.mimetype == kind
    assert parts_of(response)[1] == {"grpc-status": "0"}
    assert wire.channel_of(response) == "sms"


def test_text_may_come_in_padded_parts(wire):
    whole = frame(ADA.SerializeToString())

    response = call(wire, b64encode(whole[:4]) + b64encode(whole[4:]), kind=TEXT)

    assert parts_of(response)[1] == {"grpc-status": "0"}


def test_a_message_may_be_compressed(wire):
    body = frame(gzip.compress(ADA.SerializeToString()), flags=1)

    assert parts_of(call(wire, body, Grpc_Encoding="gzip"))[1] == {"grpc-status": "0"}


@pytest.mark.parametrize("path", [REST, BARE], ids=["prefixed", "bare"])
@pytest.mark.parametrize("kind", [WEB, WEB_PROTO])
def test_the_rest_path_serves_grpc_web_too_and_its_user_wins(wire, path, kind):
    a_user(wire.services, "ä b")

    response = call(wire, ADA, path=path.format("%C3%A4%20b"), kind=kind)

    assert parts_of(response)[1] == {"grpc-status": "0"}
    assert wire.services.resets.find(response.headers["Keyturn-Reset-Id"]).user_id == "ä b"


def test_plain_grpc_on_the_rest_path_has_its_status_in_the_headers(wire):
    response = call(wire, ADA, path=REST.format("ada"), kind="application/grpc")

    assert response.headers["Grpc-Status"] == "0"
    assert Notified.FromString(response.data[5:]).details.resource_owner == "acme"


def test_json_on_the_rest_path_is_still_rest(wire):
    assert wire.reset(body={"type": 1}).get_json()["details"]["resourceOwner"] == "acme"


REFUSALS = {
    "empty": (b"", {}, (3, None)),
    "cut": (frame(b"\x0a\x03ada")[:-1], {}, (3, None)),
    "two messages": (frame(b"") + frame(b""), {}, (3, None)),
    "trailers": (frame(b"", flags=0x80), {}, (3, None)),
    "no message": (frame(b"\xff"), {}, (3, None)),
    "no base64": (b"!!!!", {"kind": TEXT}, (3, None)),
    "no user": (Notification(), {}, (3, None)),
    "unknown type": (Notification(user_id="ada", type=7), {}, (3, None)),
    "no timeout": (ADA, {"Grpc_Timeout": "5"}, (3, None)),
    "too late": (ADA, {"Grpc_Timeout": "0S"}, (4, None)),
    "too large": (frame(b"x" * 65537), {}, (8, None)),
    "said to be too large": (b"\x00\xff\xff\xff\xff", {}, (8, None)),
    "unknown compression": (frame(b"x", flags=1), {"Grpc_Encoding": "br"}, (12, None)),
    "unknown token": (ADA, {"token": "x"}, (16, "AUTH-7fs1e")),
    "unknown organisation": (ADA, {"x_zitadel_orgid": "nowhere"}, (7, "AUTH-Bs7Ds")),
    "unknown user": (Notification(user_id="nobody"), {}, (9, "COMMAND-Hj9ds")),
    "unknown user, v2": (
        PasswordResetRequest(user_id="nobody"),
        {"path": PASSWORD_RESET},
        (5, "COMMAND-SAF4f"),
    ),
    "unknown call": (ADA, {"path": "/zitadel.user.v2.UserService/DeleteUser"}, (12, None)),
}


@pytest.mark.parametrize(("body", "more", "told"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_a_trailer(wire, body, more, told):
    assert refusal(call(wire, body, **more)) == told
    assert wire.records() == []


def test_a_refusal_as_text_is_text(wire):
    body = b64encode(frame(Notification(user_id="nobody").SerializeToString()))

    assert refusal(call(wire, body, kind=TEXT)) == (9, "COMMAND-Hj9ds")


def test_a_message_of_64_kib_is_read(wire):
    padding = 65536 - len(ADA.SerializeToString()) - 4
    body = frame(ADA.SerializeToString() + b"\x1a" + b"\xf3\xff\x03" + b"x" * padding)
    assert len(body) == 65541

    assert parts_of(call(wire, body))[1] == {"grpc-status": "0"}


def test_a_sentence_with_umlauts_travels_percent_encoded(wire):
    response = call(wire, Notification(user_id="nobody"), Accept_Language="fr")

    assert refusal(response) == (9, "COMMAND-Hj9ds")
    assert parts_of(response)[1]["grpc-message"].isascii()


def test_a_browser_may_ask_the_rest_path_as_grpc_web(wire):
    response = wire.call(
        REST.format("ada"),
        method="OPTIONS",
        headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"},
    )

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (204, "*")
