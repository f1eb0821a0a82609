"""Native gRPC as grpcio's own client sees it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.errors import StoreUnavailableError
from tests.support.builders import a_token, a_user
from tests.support.rpc import (
    PASSWORD_RESET,
    SET_PASSWORD,
    V1,
    Notification,
    RpcCaller,
    RpcServer,
    metadata_of,
    status_of,
)
from tests.support.waiting import HANG_SECONDS, wait_until
from tests.support.wire import Wire
from web.rpc.generated.user_pb2 import Password, PasswordResetRequest, SetPasswordRequest

CODE = grpc.StatusCode


def a_code(caller, user_id="ada"):
    wanted = PasswordResetRequest(user_id=user_id)
    wanted.return_code.SetInParent()
    return caller.call(PASSWORD_RESET, wanted)[0].verification_code


def test_the_v1_call_records_a_reset(caller, wire):
    answer, call = caller.notify(x_request_id="request-1")

    headers = metadata_of(call.initial_metadata())
    reset = wire.services.resets.find(headers["keyturn-reset-id"])
    assert (reset.user_id, reset.channel, reset.request_id) == ("ada", "email", "request-1")
    assert headers["x-request-id"] == "request-1"
    assert headers["deprecation"] == "@1735689600"
    assert answer.details.sequence == reset.sequence
    assert answer.details.resource_owner == "acme"
    assert answer.details.creation_date == answer.details.change_date
    at = answer.details.creation_date.ToDatetime(tzinfo=UTC)
    assert abs(at - datetime.now(UTC)) < timedelta(seconds=10)


def test_an_sms_is_asked_for_by_its_number(caller, wire):
    _, call = caller.notify(channel=1)

    reset_id = metadata_of(call.initial_metadata())["keyturn-reset-id"]
    assert wire.services.resets.find(reset_id).channel == "sms"


@pytest.mark.parametrize(
    "path", ["/management/v1/users/{}/password/_reset", "/users/{}/password/_reset"]
)
def test_the_rest_path_serves_grpc_too_and_its_user_wins(caller, wire, path):
    a_user(wire.services, "ä b")

    call = caller.start(path.format("%C3%A4%20b"), Notification(user_id="ada"))
    call.result()

    reset_id = metadata_of(call.initial_metadata())["keyturn-reset-id"]
    assert wire.services.resets.find(reset_id).user_id == "ä b"


def test_a_returned_code_sets_a_password(caller):
    code = a_code(caller)

    answer, _ = caller.call(
        SET_PASSWORD,
        SetPasswordRequest(
            user_id="ada", new_password=Password(password="Correct-Horse-1"), verification_code=code
        ),
    )

    assert answer.details.resource_owner == "acme"
    assert answer.details.HasField("change_date")


def test_a_link_by_sms_is_asked_for(caller, wire):
    wanted = PasswordResetRequest(user_id="ada")
    wanted.send_link.notification_type = 2
    wanted.send_link.url_template = "https://reset.example.com/x?code={{.Code}}"

    answer, call = caller.call(PASSWORD_RESET, wanted)

    reset = wire.services.resets.find(metadata_of(call.initial_metadata())["keyturn-reset-id"])
    assert (reset.channel, reset.url_template) == ("sms", wanted.send_link.url_template)
    assert not answer.HasField("verification_code")


def test_a_key_gives_the_same_reset_twice(caller):
    handles = {
        metadata_of(caller.notify(idempotency_key="k1")[1].initial_metadata())["keyturn-reset-id"]
        for _ in range(2)
    }

    assert len(handles) == 1


def test_a_key_stands_for_one_request_only(caller, wire):
    a_user(wire.services, "bob", email="bob@example.com")
    caller.notify(idempotency_key="k1")

    refused = caller.refusal(V1, Notification(user_id="bob"), idempotency_key="k1")

    assert refused == (CODE.FAILED_PRECONDITION, "KEYTURN-IdempotencyMismatch")


def set_password(**more):
    return SetPasswordRequest(user_id="ada", new_password=Password(password="Aa1!aaaa"), **more)


REFUSALS = {
    "no header": (V1, Notification(user_id="ada"), {"authorization": ""}, CODE.UNAUTHENTICATED, None),
    "no bearer": (V1, Notification(user_id="ada"), {"authorization": "Basic x"}, CODE.UNAUTHENTICATED, "AUTH-toLo1"),
    "unknown token": (V1, Notification(user_id="ada"), {"authorization": "Bearer x"}, CODE.UNAUTHENTICATED, "AUTH-7fs1e"),
    "unknown organisation": (V1, Notification(user_id="ada"), {"x_zitadel_orgid": "nowhere"}, CODE.PERMISSION_DENIED, "AUTH-Bs7Ds"),
    "no membership": (V1, Notification(user_id="ada"), {"x_zitadel_orgid": "beta"}, CODE.NOT_FOUND, "AUTHZ-cdgFk"),
    "unknown user": (V1, Notification(user_id="nobody"), {}, CODE.FAILED_PRECONDITION, "COMMAND-Hj9ds"),
    "no user": (V1, Notification(), {}, CODE.INVALID_ARGUMENT, None),
    "long user": (V1, Notification(user_id="x" * 201), {}, CODE.INVALID_ARGUMENT, None),
    "unknown type": (V1, Notification(user_id="ada", type=2), {}, CODE.INVALID_ARGUMENT, None),
    "negative type": (V1, Notification(user_id="ada", type=-1), {}, CODE.INVALID_ARGUMENT, None),
    "no message": (V1, b"\x0a\xff", {}, CODE.INVALID_ARGUMENT, None),
    "no UTF-8": (V1, b"\x0a\x01\xff", {}, CODE.INVALID_ARGUMENT, None),
    "no key": (V1, Notification(user_id="ada"), {"idempotency_key": "a b"}, CODE.INVALID_ARGUMENT, None),
    "unknown user, v2": (PASSWORD_RESET, PasswordResetRequest(user_id="nobody"), {}, CODE.NOT_FOUND, "COMMAND-SAF4f"),
    "no user, v2": (PASSWORD_RESET, PasswordResetRequest(), {}, CODE.INVALID_ARGUMENT, None),
    "template": (PASSWORD_RESET, PasswordResetRequest(user_id="ada", send_link={"url_template": "https://{{"}), {}, CODE.INVALID_ARGUMENT, "DOMAIN-oGh5e"),
    "template's host": (PASSWORD_RESET, PasswordResetRequest(user_id="ada", send_link={"url_template": "https://evil.example/{{.Code}}"}), {}, CODE.INVALID_ARGUMENT, "KEYTURN-UrlNotAllowed"),
    "empty template": (PASSWORD_RESET, PasswordResetRequest(user_id="ada", send_link={"url_template": ""}), {}, CODE.INVALID_ARGUMENT, None),
    "unknown notification": (PASSWORD_RESET, PasswordResetRequest(user_id="ada", send_link={"notification_type": 3}), {}, CODE.INVALID_ARGUMENT, None),
    "no live code": (SET_PASSWORD, set_password(verification_code="ABCD2345"), {}, CODE.FAILED_PRECONDITION, "COMMAND-2M9fs"),
    "empty code": (SET_PASSWORD, set_password(verification_code=""), {}, CODE.INVALID_ARGUMENT, None),
    "weak password": (SET_PASSWORD, SetPasswordRequest(user_id="ada", new_password={"password": "short"}), {}, CODE.INVALID_ARGUMENT, "DOMAIN-HuJf6"),
    "no password": (SET_PASSWORD, SetPasswordRequest(user_id="ada"), {}, CODE.INVALID_ARGUMENT, "COMMAND-Mf0sd"),
    "wrong password": (SET_PASSWORD, set_password(current_password="wrong"), {}, CODE.INVALID_ARGUMENT, "COMMAND-3M0fs"),
    "unknown call": ("/zitadel.user.v2.UserService/DeleteUser", b"", {}, CODE.UNIMPLEMENTED, None),
    "unknown service": ("/zitadel.auth.v1.AuthService/Healthz", b"", {}, CODE.UNIMPLEMENTED, None),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "message", "metadata", "code", "detail"), REFUSALS.values(), ids=REFUSALS
)
def test_a_refusal_has_its_status_and_id(caller, path, message, metadata, code, detail):
    assert caller.refusal(path, message, **metadata) == (code, detail)


def test_a_refusal_carries_the_request_id_and_speaks_the_callers_language(caller):
    error = caller.start(
        V1, Notification(user_id="nobody"), accept_language="de", x_request_id="r-1"
    ).exception()

    trailers = metadata_of(error.trailing_metadata())
    assert trailers["x-request-id"] == "r-1"
    assert error.details().endswith("(COMMAND-Hj9ds)")
    assert not error.details().startswith("User could")


def test_a_role_without_the_permission_is_denied(wire, server):
    viewer = RpcCaller(server.target, a_token(wire.services, "ORG_OWNER_VIEWER"))

    assert viewer.refusal(V1, Notification(user_id="ada")) == (CODE.PERMISSION_DENIED, "AUTH-5mWD2")
    viewer.channel.close()


def test_a_message_over_64_kib_is_refused(caller):
    code, _ = caller.refusal(V1, b"\x1a" + b"\x80\x80\x04" + b"x" * 65536)

    assert code == CODE.RESOURCE_EXHAUSTED


def test_a_limit_says_when_to_come_back(fake_client):
    wire = Wire(fake_client, user_cooldown_seconds=60.0)
    server = RpcServer(wire.services).start()
    caller = RpcCaller(server.target, wire.token)
    caller.notify()

    error = caller.start(V1, Notification(user_id="ada")).exception()

    retry = error_details_pb2.RetryInfo()
    assert error.code() == CODE.RESOURCE_EXHAUSTED
    assert status_of(error).details[1].Unpack(retry)
    assert 0 < retry.retry_delay.seconds <= 60
    caller.channel.close()
    server.stop()


class Directory:
    """A directory that takes its time, or fails."""

    def __init__(self, services, *, seconds=0.0, error=None):
        self._own, self._seconds, self._error = services.directory, seconds, error
        self.asked = 0
        object.__setattr__(services, "directory", self)

    def find_user(self, user_id):
        self.asked += 1
        time.sleep(self._seconds)
        if self._error:
            raise self._error
        return self._own.find_user(user_id)


def test_an_error_of_ours_tells_no_details(caller, server):
    Directory(server.services, error=ZeroDivisionError("secret"))

    error = caller.start(V1, Notification(user_id="ada")).exception()

    assert error.code() == CODE.INTERNAL
    assert "secret" not in error.details()
    assert status_of(error) is None


def test_a_store_that_is_away_is_unavailable(caller, server):
    Directory(server.services, error=StoreUnavailableError())

    assert caller.refusal(V1, Notification(user_id="ada")) == (
        CODE.UNAVAILABLE,
        "KEYTURN-Unavailable",
    )


def test_forty_calls_of_one_connection_run_side_by_side(caller, server):
    Directory(server.services, seconds=0.5)
    caller.notify()
    started_at = time.monotonic()

    calls = [caller.start(V1, Notification(user_id="ada")) for _ in range(40)]
    for call in calls:
        call.result()

    assert time.monotonic() - started_at < 40 * 0.5 / 2


def test_a_call_whose_deadline_passes_ends_in_time(caller, server):
    Directory(server.services, seconds=5.0)
    started_at = time.monotonic()

    code, _ = caller.refusal(V1, Notification(user_id="ada"), timeout=0.1)

    assert code == CODE.DEADLINE_EXCEEDED
    assert time.monotonic() - started_at < 4.5


def test_a_call_that_waited_past_its_deadline_does_nothing(caller, server):
    directory = Directory(server.services, seconds=1.0)
    first = [caller.start(V1, Notification(user_id="ada")) for _ in range(40)]
    wait_until(lambda: directory.asked == 40)

    code, _ = caller.refusal(V1, Notification(user_id="ada"), timeout=0.05)
    for call in first:
        call.result()
    caller.notify()

    assert code == CODE.DEADLINE_EXCEEDED
    assert directory.asked == 41


def test_a_stop_finishes_calls_in_flight(caller, server):
    directory = Directory(server.services, seconds=0.4)
    under_way = caller.start(V1, Notification(user_id="ada"))
    wait_until(lambda: directory.asked)

    server.stop()

    assert under_way.result().details.resource_owner == "acme"


def test_a_stop_does_not_wait_for_who_only_watches(caller, server):
    watching = health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    started_at = time.monotonic()

    server.stop()

    assert time.monotonic() - started_at < HANG_SECONDS
    watching.cancel()


@pytest.mark.parametrize(
    "service", ["", "zitadel.user.v2.UserService", "zitadel.management.v1.ManagementService"]
)
def test_health_says_serving(caller, service):
    asked = health_pb2.HealthCheckRequest(service=service)

    answer = health_pb2_grpc.HealthStub(caller.channel).Check(asked, timeout=HANG_SECONDS)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_stalled_callers_keep_nobody_from_being_served(caller, server):
    lines = [
        grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(3)
    ]
    let_go = threading.Event()

    def stall():
        let_go.wait(HANG_SECONDS)
        yield b""

    stalled = [line.stream_unary(V1).future(stall()) for line in lines for _ in range(30)]
    answer, _ = caller.notify()

    assert answer.details.resource_owner == "acme"
    let_go.set()
    for call in stalled:
        call.exception()
    for line in lines:
        line.close()
