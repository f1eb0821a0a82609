"""Scripts of other sites, clients of an identity provider, and tokens that live too long."""

from __future__ import annotations

import base64
import json
import time

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from shared.errors import SettingsError, TokenInvalidError
from shared.settings import load_settings
from tests.support.builders import a_settings
from tests.support.issuer_stub import AUDIENCE, DISCOVERY, IssuerStub
from tests.support.rpc import RpcServer
from tests.support.waiting import HANG_SECONDS
from tests.support.wire import BARE, V1, Wire, problem
from web.oidc import Issuer, IssuerKeys

SHOP = "https://shop.example"
RESET_BY_CONNECT = "/zitadel.user.v2.UserService/PasswordReset"
OWN_CALLS = [
    ("POST", V1.format("ada")),
    ("POST", BARE.format("ada")),
    ("POST", "/v2/users/ada/password_reset"),
    ("POST", "/v2/users/ada/password"),
    ("GET", "/keyturn/v1/resets?userId=ada"),
    ("DELETE", "/keyturn/v1/webhooks/w1"),
    ("POST", RESET_BY_CONNECT),
]


@pytest.fixture
def stub():
    with IssuerStub() as stub:
        yield stub


def preflight(wire, path, method, origin=SHOP):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-zitadel-orgid",
    }
    return wire.call(path, method="OPTIONS", headers=headers)


# Cross-origin calls.


@pytest.mark.parametrize(("method", "path"), OWN_CALLS)
def test_a_script_of_another_site_may_ask_and_read(fake_client, method, path):
    wire = Wire(fake_client)

    asked = preflight(wire, path, method)
    answer = wire.call(path, method=method, headers=wire.headers(Origin=SHOP))

    assert (asked.status_code, asked.data) == (204, b"")
    assert asked.headers["Access-Control-Allow-Methods"] == method
    allowed = asked.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-zitadel-orgid", "idempotency-key"} <= set(allowed)
    for each in (asked, answer):
        assert each.headers.getlist("Access-Control-Allow-Origin") == ["*"]
        assert "Access-Control-Allow-Credentials" not in each.headers
    assert "Keyturn-Reset-Id" in answer.headers["Access-Control-Expose-Headers"]


def test_a_refusal_can_be_read_too(fake_client):
    wire = Wire(fake_client)

    answer = wire.call(V1.format("ada"), headers={"Origin": SHOP})

    assert problem(answer)[0] == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(("method", "path"), OWN_CALLS)
def test_a_setting_names_the_origins(fake_client, method, path):
    wire = Wire(fake_client, cors_origins=(SHOP, "http://localhost:3000"))

    for origin in (SHOP, "http://localhost:3000"):
        headers = preflight(wire, path, method, origin).headers
        assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (origin, "Origin")
    for origin in ("https://shop.example.evil.example", "http://shop.example", "null", ""):
        assert "Access-Control-Allow-Origin" not in preflight(wire, path, method, origin).headers
        answer = wire.call(path, method=method, headers=wire.headers(Origin=origin))
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/ui/password/reset?userID=ada", "/r/x/y", "/callbacks/sendgrid", "/metrics", "/dev/inbox"],
)
def test_what_is_not_for_scripts_stays_closed(fake_client, path):
    wire = Wire(fake_client)

    for answer in (preflight(wire, path, "POST"), wire.call(path, headers={"Origin": SHOP})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "post", "POST\tX"])
def test_a_method_that_no_call_has_is_not_allowed(fake_client, method):
    assert "Access-Control-Allow-Methods" not in (
        preflight(Wire(fake_client), V1.format("ada"), method).headers
    )


@pytest.mark.parametrize(
    "value", ["shop.example", "https://shop.example/", "https://u@shop.example", "ftp://a.example"]
)
def test_what_is_no_origin_is_refused(value):
    with pytest.raises(SettingsError, match=r"KEYTURN_CORS_ORIGINS: .*https://shop\.example\.com"):
        load_settings({"KEYTURN_CORS_ORIGINS": value})


# Well-known paths.


def test_the_issuers_document_is_found_by_keyturns_address(fake_client, stub):
    wire = Wire(fake_client, oidc_issuer=stub.url, oidc_audience=AUDIENCE)

    answer = wire.call(DISCOVERY, method="GET", headers={"Origin": SHOP})

    assert (answer.status_code, answer.headers["Location"]) == (307, stub.url + DISCOVERY)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_without_an_issuer_there_is_no_document(fake_client):
    assert problem(Wire(fake_client).call(DISCOVERY, method="GET")) == (404, 5, None)


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        ("security@keyturn.example", "mailto:security@keyturn.example"),
        ("mailto:security@keyturn.example", "mailto:security@keyturn.example"),
        ("https://keyturn.example/report", "https://keyturn.example/report"),
    ],
)
def test_the_security_contact_is_told(fake_client, contact, shown):
    set_contact = load_settings({"KEYTURN_SECURITY_CONTACT": contact}).security_contact
    wire = Wire(
        fake_client, security_contact=set_contact, public_url="https://reset.keyturn.example"
    )

    answer = wire.call("/.well-known/security.txt", method="GET")

    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert fields["Contact"] == shown
    assert fields["Canonical"] == "https://reset.keyturn.example/.well-known/security.txt"
    assert (
        time.strftime("%Y-%m-%d")
        < fields["Expires"]
        < time.strftime("%Y-%m-%d", time.gmtime(time.time() + 364 * 86400))
    )


def test_without_a_contact_there_is_no_security_txt(fake_client):
    answer = Wire(fake_client).call("/.well-known/security.txt", method="GET")
    assert problem(answer) == (404, 5, None)


# Tokens of the issuer.


def a_part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ["1e300", "1e999", "-1e999", "NaN", "1" + "0" * 400, "1" + "0" * 5000, "true", '"5"', "[]"],
)
@pytest.mark.parametrize("signature", ["", a_part("unsigned")])
def test_an_unsigned_token_with_an_absurd_time_is_refused(
    fake_client, stub, claim, value, signature
):
    wire = Wire(fake_client, oidc_issuer=stub.url, oidc_audience=AUDIENCE)
    claims = json.dumps(stub.claims(exp=None, nbf=None, iat=None))[:-1]
    claims += f', "exp": {value}}}' if claim == "exp" else f', "exp": 4e9, "{claim}": {value}}}'
    header = json.dumps({"alg": "RS256", "kid": "one", "typ": "JWT"})

    answer = wire.reset(token=f"{a_part(header)}.{a_part(claims)}.{signature}")

    assert problem(answer)[:2] == (401, 16)


@pytest.mark.parametrize(
    ("age", "lifetime", "is_taken"),
    [
        (0, 60, True),
        (0, 86_390, True),
        (3600, 86_390, True),
        (0, 86_500, False),
        (86_000, 86_500, False),
        (None, 86_390, True),
        (None, 86_500, False),
        (-100, 86_450, False),  # the issuer's clock is ahead: it may not lengthen a token's life
    ],
)
def test_a_token_lives_a_day_at_most(stub, age, lifetime, is_taken):
    settings = a_settings(oidc_issuer=stub.url, oidc_audience=AUDIENCE)
    issuer = Issuer(settings, issuer_keys=IssuerKeys(stub.url))
    issued_at = int(time.time()) - (age or 0)
    token = stub.a_token(iat=None if age is None else issued_at, exp=issued_at + lifetime)

    if is_taken:
        assert issuer.find_caller(token).user_id == "ada"
    else:
        with pytest.raises(TokenInvalidError):
            issuer.find_caller(token)


def test_a_setting_lengthens_the_life_of_tokens(stub):
    settings = a_settings(
        oidc_issuer=stub.url, oidc_audience=AUDIENCE, oidc_max_lifetime_seconds=90_000.0
    )
    issuer = Issuer(settings, issuer_keys=IssuerKeys(stub.url))

    assert issuer.find_caller(stub.a_token(exp=int(time.time()) + 89_000)).user_id == "ada"


# Reflection.


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_is_spoken_in_both_versions(fake_client, version):
    server = RpcServer(Wire(fake_client).services).start()
    try:
        with grpc.insecure_channel(server.target) as channel:
            ask = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(
                    file_containing_symbol="zitadel.user.v2.UserService"
                ),
            ]
            listed, file = ask(iter(requests), timeout=HANG_SECONDS)
    finally:
        server.stop()

    names = {each.name for each in listed.list_services_response.service}
    assert {"zitadel.user.v2.UserService", "grpc.reflection.v1.ServerReflection"} <= names
    files = [
        FileDescriptorProto.FromString(each)
        for each in file.file_descriptor_response.file_descriptor_proto
    ]
    assert "UserService" in [service.name for each in files for service in each.service]
