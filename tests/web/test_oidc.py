"""Tokens of an identity provider: a real issuer on loopback, real keys, and every forgery."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.errors import IssuerUnavailableError, SettingsError, TokenInvalidError
from shared.settings import load_settings
from tests.support.builders import a_settings, a_user, an_organisation
from tests.support.issuer_stub import (
    AUDIENCE,
    DISCOVERY,
    OWN_ORG,
    ROLES,
    IssuerStub,
    a_key,
    public_jwk,
)
from tests.support.waiting import SLACK_SECONDS, wait_until
from tests.support.wire import Wire, problem
from tests.support.wire_v2 import WireV2
from web.oidc import FRESH_SECONDS, PAUSE_SECONDS, STALE_SECONDS, Issuer, IssuerKeys

OWN_PROJECT = f"urn:zitadel:iam:org:project:{AUDIENCE}:roles"
OTHER_PROJECT = "urn:zitadel:iam:org:project:another:roles"
REFUSED = (401, 16, "AUTH-7fs1e")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def stub():
    with IssuerStub() as stub:
        yield stub


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def issuer(stub, clock):
    return an_issuer(stub, clock)


def an_issuer(stub, clock, **changes):
    settings = a_settings(**({"oidc_issuer": stub.url, "oidc_audience": AUDIENCE} | changes))
    return Issuer(settings, issuer_keys=IssuerKeys(settings.oidc_issuer, clock=clock))


def part(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header, claims, kid="one") -> str:
    """Header and claims as they stand, under a genuine signature."""
    text = f"{part(header)}.{part(claims)}"
    signature = jwt.get_algorithm_by_name("RS256").sign(text.encode(), a_key("RSA", kid))
    return f"{text}.{part(signature)}"


HEADER = {"alg": "RS256", "kid": "one", "typ": "JWT"}


# What is taken.


@pytest.mark.parametrize(
    ("kind", "alg"),
    [
        ("RSA", "RS256"), ("RSA", "RS384"), ("RSA", "RS512"),
        ("RSA", "PS256"), ("RSA", "PS384"), ("RSA", "PS512"),
        ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("Ed25519", "EdDSA"),
    ],
)  # fmt: skip
def test_a_genuine_token_is_taken(stub, issuer, kind, alg):
    stub.serve_keys(public_jwk(kind, "one"))

    caller = issuer.find_caller(stub.a_token(kind=kind, alg=alg))

    assert caller.user_id == "ada"
    assert caller.org_id == "acme"
    assert caller.org_roles == {"acme": {"ORG_OWNER"}}
    assert caller.instance_roles == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", AUDIENCE]},
        {"seconds from now": {"nbf": -5}},
        {"seconds from now": {"nbf": 5}},
        {"seconds from now": {"exp": 30.5}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "AT+JWT"}},
        {"header": {"jku": "https://evil.example/keys", "x5u": "https://evil.example/cert"}},
    ],
)
def test_harmless_variations_are_taken(stub, issuer, changes):
    fields = dict(changes)
    for claim, seconds in fields.pop("seconds from now", {}).items():
        fields[claim] = time.time() + seconds

    assert issuer.find_caller(stub.a_token(**fields)).user_id == "ada"


def test_without_a_key_id_the_only_key_is_meant(stub, issuer):
    stub.serve_keys(public_jwk("RSA", None))

    assert issuer.find_caller(stub.a_token(kid=None)).user_id == "ada"


def test_without_a_key_id_two_keys_are_one_too_many(stub, issuer):
    stub.serve_keys(public_jwk("RSA", None), public_jwk("P-256", "two"))

    with pytest.raises(TokenInvalidError):
        issuer.find_caller(stub.a_token(kid=None))


def test_the_callers_name_is_stable_and_gives_nothing_away(stub, issuer):
    first, again = (issuer.find_caller(stub.a_token(jti=jti)) for jti in ("1", "2"))
    other = issuer.find_caller(stub.a_token(sub="eve"))

    assert first.token_id == again.token_id != other.token_id
    assert "ada" not in first.token_id
    assert 0 < first.seconds_left <= 60


# Forgeries.


def forged_none(stub, spelling="none"):
    return f"{part({'alg': spelling, 'typ': 'JWT', 'kid': 'one'})}.{part(stub.claims())}."


def forged_hmac(stub, encoding, shape):
    secret = a_key("RSA", "one").public_key().public_bytes(encoding, shape)
    text = f"{part(HEADER | {'alg': 'HS256'})}.{part(stub.claims())}"
    return f"{text}.{part(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def tampered(stub, position, change):
    parts = stub.a_token().split(".")
    parts[position] = change(parts[position])
    return ".".join(parts)


def with_own_key(stub):
    """The header brings its own key."""
    return jwt.encode(
        stub.claims(), a_key("RSA", "thief"), "RS256",
        {"kid": "one", "jwk": public_jwk("RSA", "thief")},
    )  # fmt: skip


FORGERIES = {
    "none": forged_none,
    "None": lambda stub: forged_none(stub, "None"),
    "none and a signature": lambda stub: forged_none(stub) + stub.a_token().split(".")[2],
    "no algorithm": lambda stub: signed({"kid": "one"}, stub.claims()),
    "an algorithm of another type": lambda stub: signed({"alg": ["RS256"]}, stub.claims()),
    "HMAC with the public key in PEM": lambda stub: forged_hmac(
        stub, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ),
    "HMAC with the public key in PKCS1": lambda stub: forged_hmac(
        stub, Encoding.PEM, PublicFormat.PKCS1
    ),
    "HMAC with the public key in DER": lambda stub: forged_hmac(
        stub, Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ),
    "the algorithm of another family": lambda stub: signed(
        HEADER | {"alg": "ES256"}, stub.claims()
    ),
    "a thief's key under a known id": lambda stub: jwt.encode(
        stub.claims(), a_key("RSA", "thief"), "RS256", {"kid": "one"}
    ),
    "a key in the header": with_own_key,
    "an unknown key id": lambda stub: stub.a_token(kid="two"),
    "a key id that is no text": lambda stub: signed(HEADER | {"kid": 1}, stub.claims()),
    "the id of another key": lambda stub: jwt.encode(
        stub.claims(), a_key("RSA", "one"), "RS256", {"kid": "second"}
    ),
    "another audience": lambda stub: stub.a_token(aud="other"),
    "an audience that contains ours": lambda stub: stub.a_token(aud=f"{AUDIENCE}-2"),
    "audiences without ours": lambda stub: stub.a_token(aud=["a", "b"]),
    "no audience": lambda stub: stub.a_token(aud=None),
    "an audience of another type": lambda stub: signed(
        HEADER, stub.claims(aud={AUDIENCE: AUDIENCE})
    ),
    "another issuer": lambda stub: stub.a_token(iss="https://evil.example"),
    "an issuer with a slash more": lambda stub: stub.a_token(iss=f"{stub.url}/"),
    "a list of issuers": lambda stub: signed(HEADER, stub.claims(iss=[stub.url])),
    "no issuer": lambda stub: stub.a_token(iss=None),
    "expired": lambda stub: stub.a_token(exp=int(time.time()) - 1),
    "long expired": lambda stub: stub.a_token(exp=0),
    "no expiry": lambda stub: stub.a_token(exp=None),
    "an expiry in words": lambda stub: signed(HEADER, stub.claims(exp="9999999999")),
    "an expiry that is true": lambda stub: signed(HEADER, stub.claims(exp=True)),
    "an endless expiry": lambda stub: signed(
        HEADER, json.dumps(stub.claims(exp=1.5)).replace("1.5", "1e999").encode()
    ),
    "an expiry that is no number": lambda stub: signed(
        HEADER, json.dumps(stub.claims(exp=1.5)).replace("1.5", "NaN").encode()
    ),
    "an expiry beyond all numbers": lambda stub: signed(HEADER, stub.claims(exp=10**400)),
    "not yet valid": lambda stub: stub.a_token(nbf=int(time.time()) + 60),
    "a beginning in words": lambda stub: signed(HEADER, stub.claims(nbf="0")),
    "no subject": lambda stub: stub.a_token(sub=None),
    "an empty subject": lambda stub: stub.a_token(sub=""),
    "a subject of another type": lambda stub: signed(HEADER, stub.claims(sub=5)),
    "a long subject": lambda stub: stub.a_token(sub="x" * 201),
    "tampered claims": lambda stub: tampered(stub, 1, lambda _: part(stub.claims(sub="eve"))),
    "tampered header": lambda stub: tampered(stub, 0, lambda _: part(HEADER | {"x": 1})),
    "a cut signature": lambda stub: tampered(stub, 2, lambda s: s[:-6]),
    "no signature": lambda stub: tampered(stub, 2, lambda _: ""),
    "another token's signature": lambda stub: tampered(
        stub, 2, lambda _: stub.a_token(sub="eve").split(".")[2]
    ),
    "encrypted": lambda _: ".".join(
        [part({"alg": "RSA-OAEP", "enc": "A256GCM"}), part(b"key"), part(b"iv"), part(b"x"), "tag"]
    ),
    "said to be encrypted": lambda stub: signed(HEADER | {"enc": "A256GCM"}, stub.claims()),
    "nested": lambda stub: signed(HEADER | {"cty": "JWT"}, stub.a_token().encode()),
    "nested without saying so": lambda stub: signed(HEADER, stub.a_token().encode()),
    "critical extensions": lambda stub: signed(HEADER | {"crit": ["exp"]}, stub.claims()),
    "an unencoded payload": lambda stub: signed(
        HEADER | {"b64": False, "crit": ["b64"]}, stub.claims()
    ),
    "a logout token": lambda stub: stub.a_token(header={"typ": "logout+jwt"}),
    "a proof of possession": lambda stub: stub.a_token(header={"typ": "dpop+jwt"}),
    "huge": lambda stub: stub.a_token(padding="x" * 20_000),
    "duplicate claims": lambda stub: signed(
        HEADER, json.dumps(stub.claims()).replace("{", '{"sub":"eve",', 1).encode()
    ),
    "duplicate claims deep inside": lambda stub: signed(
        HEADER,
        json.dumps(stub.claims(**{ROLES: 0})).replace(": 0", ':{"A":{},"A":{"acme":""}}').encode(),
    ),
    "a duplicate header": lambda stub: signed(
        json.dumps(HEADER).replace("{", '{"alg":"none",', 1).encode(), stub.claims()
    ),
    "claims in a list": lambda stub: signed(HEADER, [stub.claims()]),
    "claims deep as a well": lambda stub: signed(HEADER, b"[" * 5000),
    "claims that are no JSON": lambda _: signed(HEADER, b"{"),
    "claims that are no UTF-8": lambda _: signed(HEADER, b'{"sub":"\xff"}'),
    "not base64": lambda stub: tampered(stub, 1, lambda s: s + "*"),
    "blanks in base64": lambda stub: tampered(stub, 1, lambda s: s[:4] + "\n" + s[4:]),
    "a line at the end": lambda stub: stub.a_token() + "\n",
    "dots alone": lambda _: "..",
    "one part more": lambda stub: stub.a_token() + ".x",
}


def test_what_the_forgeries_are_made_from_is_genuine(stub, issuer):
    assert issuer.find_caller(signed(HEADER, stub.claims())).user_id == "ada"


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused(stub, issuer, name):
    stub.serve_keys(public_jwk("RSA", "one"), public_jwk("RSA", "second"))

    with pytest.raises(TokenInvalidError):
        issuer.find_caller(FORGERIES[name](stub))


@pytest.mark.parametrize(
    "key",
    [
        public_jwk("RSA", "one", use="enc"),
        public_jwk("RSA", "one", key_ops=["encrypt"]),
        public_jwk("RSA", "one", key_ops=5),
        public_jwk("RSA", "one", alg="RS512"),
        public_jwk("RSA", "one", alg=5),
        public_jwk("RSA", "one", alg="HS256"),
        {"kty": "oct", "k": part(b"x" * 64), "kid": "one", "use": "sig"},
        public_jwk("RSA", "one", d="AQAB"),
        {"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "one", "n": 5, "e": "AQAB"},
        {"kty": "EC", "kid": "one", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": ["RSA"], "kid": "one"},
        {"kid": "one"},
        "one",
    ],
    ids=repr,
)
def test_a_key_for_something_else_verifies_nothing(stub, issuer, key):
    stub.serve_keys(key, public_jwk("P-256", "other"))

    with pytest.raises(TokenInvalidError):
        issuer.find_caller(stub.a_token())


def test_a_curve_that_is_not_on_the_list_is_refused(stub, issuer):
    stub.serve_keys(public_jwk("secp256k1", "one"), public_jwk("RSA", "other"))

    with pytest.raises(TokenInvalidError):
        issuer.find_caller(stub.a_token(kind="secp256k1", alg="ES256K"))


def test_the_key_decides_the_algorithm(stub, issuer):
    stub.serve_keys(public_jwk("RSA", "one", alg="PS256"))

    assert issuer.find_caller(stub.a_token(alg="PS256")).user_id == "ada"
    with pytest.raises(TokenInvalidError):
        issuer.find_caller(stub.a_token(alg="RS256"))


# Rotation, floods and outages.


def test_a_new_key_is_found_at_once(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    stub.serve_keys(public_jwk("RSA", "one"), public_jwk("RSA", "second"))
    clock.seconds += PAUSE_SECONDS

    assert issuer.find_caller(stub.a_token(kid="second")).user_id == "ada"


def test_a_withdrawn_key_is_given_up(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    stub.serve_keys(public_jwk("RSA", "second"))
    clock.seconds += FRESH_SECONDS
    issuer.find_caller(stub.a_token())  # still held; asks for fresh ones meanwhile

    wait_until(lambda: is_refused(issuer, stub.a_token()))


def test_a_flood_of_invented_key_ids_asks_once(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    for number in range(50):
        assert is_refused(issuer, stub.a_token(kid="one", header={"kid": f"invented-{number}"}))
    assert stub.asked.count("/keys") == 1
    clock.seconds += PAUSE_SECONDS

    for number in range(50):
        assert is_refused(issuer, stub.a_token(kid="one", header={"kid": f"more-{number}"}))
    assert stub.asked.count("/keys") == 2


def test_a_steady_flood_does_not_put_off_the_next_fetch(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    stub.serve_keys(public_jwk("RSA", "one"), public_jwk("RSA", "second"))
    for number in range(6):
        clock.seconds += PAUSE_SECONDS / 5
        is_refused(issuer, stub.a_token(header={"kid": f"invented-{number}"}))

    assert issuer.find_caller(stub.a_token(kid="second")).user_id == "ada"
    assert stub.asked.count("/keys") == 2


def test_a_flood_at_once_asks_once_too(stub, issuer):
    tokens = [stub.a_token(header={"kid": f"invented-{number}"}) for number in range(16)]
    threads = [threading.Thread(target=is_refused, args=(issuer, token)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert stub.asked.count("/keys") == 1


def test_claims_for_others_ask_for_no_keys(stub, issuer):
    assert is_refused(issuer, stub.a_token(aud="other"))
    assert is_refused(issuer, stub.a_token(exp=1))

    assert stub.asked == []


@pytest.mark.parametrize("outage", ["stopped", "error", "garbage", "empty", "no usable key"])
def test_an_outage_does_not_stop_what_is_held(stub, issuer, clock, outage):
    issuer.find_caller(stub.a_token())
    match outage:
        case "stopped":
            stub.stop()
        case "error":
            stub.status = 503
        case "garbage":
            stub.documents["/keys"] = b"<html>"
        case "empty":
            stub.serve_keys()
        case _:
            stub.serve_keys({"kty": "oct", "k": "AAAA", "kid": "one"})

    for _ in range(5):
        clock.seconds += FRESH_SECONDS
        assert issuer.find_caller(stub.a_token()).user_id == "ada"
        assert is_refused(issuer, stub.a_token(header={"kid": "invented"}))


def test_a_slow_issuer_keeps_nobody_waiting_whose_key_is_held(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    stub.delay_seconds = 6.0
    clock.seconds += FRESH_SECONDS
    started_at = time.monotonic()

    for _ in range(20):
        issuer.find_caller(stub.a_token())

    assert time.monotonic() - started_at < SLACK_SECONDS


def test_after_a_day_without_an_answer_keys_are_no_longer_believed(stub, issuer, clock):
    issuer.find_caller(stub.a_token())
    stub.stop()
    clock.seconds += STALE_SECONDS

    with pytest.raises(IssuerUnavailableError):
        issuer.find_caller(stub.a_token())


def test_an_issuer_that_was_never_reached_is_503_and_found_later(stub, issuer, clock):
    stub.status = 500
    with pytest.raises(IssuerUnavailableError):
        issuer.find_caller(stub.a_token())
    with pytest.raises(IssuerUnavailableError):
        issuer.find_caller(stub.a_token())
    assert len(stub.asked) == 1
    stub.status = 200
    clock.seconds += PAUSE_SECONDS

    assert issuer.find_caller(stub.a_token()).user_id == "ada"


@pytest.mark.parametrize(
    "change",
    [
        lambda stub: stub.documents.pop(DISCOVERY),
        lambda stub: stub.documents.pop("/keys"),
        lambda stub: stub.documents[DISCOVERY].update(issuer="https://evil.example"),
        lambda stub: stub.documents[DISCOVERY].update(issuer=f"{stub.url}/"),
        lambda stub: stub.documents[DISCOVERY].pop("issuer"),
        lambda stub: stub.documents[DISCOVERY].pop("jwks_uri"),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri=5),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri="file:///etc/passwd"),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri="http://198.51.100.1/keys"),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri="http://127.0.0.1@evil/keys"),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri=f"{stub.url}/k\r\nX: y"),
        lambda stub: stub.documents[DISCOVERY].update(jwks_uri="http://127.0.0.1:99999/keys"),
        lambda stub: stub.documents.update({DISCOVERY: b"[]"}),
        lambda stub: stub.documents.update({DISCOVERY: b"[" * 5000}),
        lambda stub: stub.documents.update({DISCOVERY: b"\xff"}),
        lambda stub: stub.documents.update({"/keys": b"{}"}),
        lambda stub: stub.documents.update({"/keys": {"keys": [public_jwk("RSA", "one")] * 65}}),
        lambda stub: stub.documents.update({"/keys": b" " * 300_000 + stub.build_body("/keys")}),
        lambda stub: stub.documents.update({"/keys": b" " * 2_000_000 + stub.build_body("/keys")}),
    ],
)
def test_documents_that_are_not_sound_give_no_keys(stub, issuer, change):
    change(stub)

    with pytest.raises(IssuerUnavailableError):
        issuer.find_caller(stub.a_token())


def test_a_redirect_is_not_followed(stub, issuer):
    with IssuerStub() as other:
        stub.status, stub.headers = 302, {"Location": f"{other.url}{DISCOVERY}"}

        with pytest.raises(IssuerUnavailableError):
            issuer.find_caller(stub.a_token())

        assert other.asked == []


def test_keys_may_be_served_by_another_host_of_the_issuers_choice(stub, issuer):
    with IssuerStub() as other:
        stub.documents[DISCOVERY]["jwks_uri"] = f"{other.url}/keys?policy=x"
        other.documents["/keys?policy=x"] = other.documents["/keys"]

        assert issuer.find_caller(stub.a_token()).user_id == "ada"


# Roles.


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({ROLES: {"ORG_OWNER": {"a": ""}, "ORG_OWNER_VIEWER": {"a": "", "b": ""}}},
         {"a": {"ORG_OWNER", "ORG_OWNER_VIEWER"}, "b": {"ORG_OWNER_VIEWER"}}),
        ({ROLES: {"admin": {"a": ""}, "org_owner": {"a": ""}}}, {}),
        ({ROLES: {"IAM_OWNER": {"a": ""}}}, {"a": {"IAM_OWNER"}}),
        ({ROLES: None, OWN_PROJECT: {"ORG_OWNER": {"a": ""}}}, {"a": {"ORG_OWNER"}}),
        ({ROLES: {"ORG_OWNER": {"b": ""}}, OWN_PROJECT: {"ORG_OWNER": {"a": ""}}},
         {"a": {"ORG_OWNER"}}),
        ({ROLES: {"ORG_OWNER": {"b": ""}}, OWN_PROJECT: {}}, {}),
        ({ROLES: None, OTHER_PROJECT: {"ORG_OWNER": {"a": ""}}}, {}),
        ({ROLES: None}, {}),
        ({ROLES: []}, {}),
        ({ROLES: ["ORG_OWNER"]}, {}),
        ({ROLES: {"ORG_OWNER": ["a"]}}, {}),
        ({ROLES: {"ORG_OWNER": "a"}}, {}),
        ({ROLES: {"ORG_OWNER": {"": "", "x" * 201: "", "a\nb": ""}}}, {}),
    ],
)  # fmt: skip
def test_roles_count_in_the_organisations_they_name(stub, issuer, claims, expected):
    caller = issuer.find_caller(stub.a_token(**claims))

    assert caller.org_roles == expected
    assert caller.instance_roles == frozenset()


@pytest.mark.parametrize(
    ("told", "expected"), [("home", "home"), (None, "first"), ("", "first"), (5, "first")]
)
def test_the_own_organisation_is_the_resource_owner_or_the_first_of_the_roles(
    stub, issuer, told, expected
):
    roles = {"ORG_OWNER_VIEWER": {"first": "", "second": ""}, "ORG_OWNER": {"third": ""}}

    caller = issuer.find_caller(stub.a_token(**{OWN_ORG: told, ROLES: roles}))

    assert caller.org_id == expected


# Over the wire.


@pytest.fixture
def wire(real_client, stub):
    return WireV2(real_client, oidc_issuer=stub.url, oidc_audience=AUDIENCE)


def test_a_token_of_the_issuer_may_what_its_roles_may(wire, stub):
    token = stub.a_token(sub="robot")

    assert wire.reset(token=token).status_code == 200
    assert wire.reset_v2(token=token).status_code == 200


@pytest.mark.parametrize(
    ("claims", "header", "expected"),
    [
        ({ROLES: {"ORG_OWNER_VIEWER": {"acme": ""}}}, {}, (403, 7, "AUTH-5mWD2")),
        ({ROLES: None}, {}, (404, 5, "AUTHZ-cdgFk")),
        ({ROLES: {"ORG_OWNER": {"beta": ""}}}, {}, (404, 5, "AUTHZ-cdgFk")),
        ({ROLES: {"IAM_OWNER": {"beta": ""}}}, {}, (404, 5, "AUTHZ-cdgFk")),
        ({ROLES: {"ORG_OWNER": {"beta": ""}}, OWN_ORG: "beta"}, {}, (400, 9, "COMMAND-Hj9ds")),
        ({}, {"x_zitadel_orgid": "nowhere"}, (403, 7, "AUTH-Bs7Ds")),
        ({OWN_ORG: "nowhere"}, {}, (403, 7, "AUTH-Bs7Ds")),
        ({OWN_ORG: None, ROLES: None}, {}, (403, 7, "AUTH-Bs7Ds")),
    ],
)
def test_what_the_roles_do_not_give_is_refused(wire, stub, claims, header, expected):
    assert problem(wire.reset(token=stub.a_token(sub="robot", **claims), **header)) == expected


def test_the_subject_may_reset_itself(wire, stub):
    token = stub.a_token(**{ROLES: None})
    a_user(wire.services, "eve", email="eve@example.com")

    assert wire.reset_v2("ada", token=token).status_code == 200
    assert problem(wire.reset_v2("eve", token=token)) == (404, 5, "COMMAND-SAF4f")


@pytest.mark.parametrize("name", ["none", "expired", "another audience", "tampered claims"])
def test_a_forgery_is_401_over_the_wire(wire, stub, name):
    assert problem(wire.reset(token=FORGERIES[name](stub))) == REFUSED


def test_a_repeated_key_is_the_subjects_whichever_token_it_brings(wire, stub):
    first, again = (
        wire.reset(token=stub.a_token(jti=jti), Idempotency_Key="k") for jti in ("1", "2")
    )
    other = wire.reset(token=stub.a_token(sub="eve"), Idempotency_Key="k")

    assert first.headers["Keyturn-Reset-Id"] == again.headers["Keyturn-Reset-Id"]
    assert other.headers["Keyturn-Reset-Id"] != first.headers["Keyturn-Reset-Id"]


def test_the_issuers_subjects_are_callers_with_limits_of_their_own(real_client, stub):
    wire = Wire(
        real_client, oidc_issuer=stub.url, oidc_audience=AUDIENCE, caller_limit_per_minute=1
    )

    assert wire.reset(token=stub.a_token(jti="1")).status_code == 200
    assert wire.reset(token=stub.a_token(jti="2")).status_code == 429
    assert wire.reset(token=stub.a_token(sub="eve")).status_code == 200


def test_our_own_tokens_go_on_beside_an_issuer_that_is_away(wire, stub):
    stub.stop()

    assert problem(wire.reset(token=stub.a_token())) == (503, 14, "KEYTURN-Unavailable")
    assert wire.reset().status_code == 200


def test_a_token_that_expires_is_not_cached_beyond_that(wire, stub):
    token = stub.a_token(exp=time.time() + 1.5)
    assert wire.reset(token=token).status_code == 200
    time.sleep(1.55)

    assert problem(wire.reset(token=token)) == REFUSED


def test_without_an_issuer_signed_tokens_are_unknown(real_client, stub):
    assert problem(Wire(real_client).reset(token=stub.a_token())) == REFUSED
    assert stub.asked == []


def test_no_token_or_subject_is_stored(wire, stub):
    an_organisation(wire.services, "gamma")
    token = stub.a_token(sub="a-person-of-the-issuer")
    wire.reset(token=token, Idempotency_Key="k")

    stored = wire.stored_words()

    assert "a-person-of-the-issuer" not in stored
    assert not any(piece in stored for piece in token.split("."))


# Settings.


@pytest.mark.parametrize(
    "environ",
    [
        {"KEYTURN_OIDC_ISSUER": "https://id.example"},
        {"KEYTURN_OIDC_AUDIENCE": "x"},
        {"KEYTURN_OIDC_ISSUER": "http://id.example", "KEYTURN_OIDC_AUDIENCE": "x"},
        {"KEYTURN_OIDC_ISSUER": "https://u@id.example", "KEYTURN_OIDC_AUDIENCE": "x"},
        {"KEYTURN_OIDC_ISSUER": "https://id.example/?a=b", "KEYTURN_OIDC_AUDIENCE": "x"},
        {"KEYTURN_OIDC_ISSUER": "id.example", "KEYTURN_OIDC_AUDIENCE": "x"},
    ],
)
def test_settings_that_cannot_work_are_refused(environ):
    with pytest.raises(SettingsError, match="KEYTURN_OIDC"):
        load_settings(environ)


def test_an_issuer_is_kept_to_the_letter():
    environ = {"KEYTURN_OIDC_ISSUER": "https://id.example/a/", "KEYTURN_OIDC_AUDIENCE": "x"}

    assert load_settings(environ).oidc_issuer == "https://id.example/a/"


def is_refused(issuer, token) -> bool:
    try:
        issuer.find_caller(token)
    except TokenInvalidError:
        return True
    return False
