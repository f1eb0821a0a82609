"""Sign in by a link that works once, and by an identity provider."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.store.admin.audit import Act
from tests.support.console import Console
from tests.support.issuer_stub import AUDIENCE, DISCOVERY, IssuerStub
from tests.support.pages import see
from web.console import oidc
from web.up.demo import make_link


@pytest.fixture
def console(fake_client):
    return Console(fake_client)


def a_link(console):
    services = console.services
    act = Act(by="eve", action="token.add", target="acme")
    link = make_link(services.callers, services.audit, services.settings, act)
    return urlsplit(link).path


def test_a_link_signs_in_once_as_the_owner_of_everything(console):
    link = a_link(console)

    answer = console.browser.get(link)

    assert answer.status_code == 200
    assert "refresh" in answer.text
    assert console.open().status_code == 200
    again = console.app.test_client().get(link)
    assert again.status_code == 410
    assert "keyturn console" in see(again).text
    assert "Set-Cookie" not in again.headers


def test_a_link_ends_after_ten_minutes_and_its_token_with_the_session(console):
    a_link(console)
    (key,) = console.redis.keys("{kt:gate}:link:*")

    assert 590 <= console.redis.ttl(key) <= 600
    token = console.services.callers.list_tokens()[-1]
    assert token.expires_at is not None
    assert b"kt_pat" not in console.redis.dump(key)
    (entry, *_) = console.services.audit.newest(most=1)
    assert (entry.act.action, entry.act.by) == ("token.add", "eve")


@pytest.mark.parametrize("secret", ["x", "é", "a" * 3000, "%00", "*"])
def test_a_link_of_another_make_signs_nobody_in(console, secret):
    a_link(console)

    assert console.open(f"/sign-in/once/{secret}").status_code == 410


@pytest.fixture
def stub():
    with IssuerStub() as stub:
        stub.documents[DISCOVERY] |= {
            "authorization_endpoint": f"{stub.url}/authorize",
            "token_endpoint": f"{stub.url}/token",
        }
        yield stub


@pytest.fixture
def with_issuer(fake_client, stub):
    return Console(
        fake_client, oidc_issuer=stub.url, oidc_audience=AUDIENCE, oidc_client_id="console"
    )


def asked(answer):
    """What the issuer is asked for."""
    assert answer.status_code == 303, answer.text
    return {
        name: its[0] for name, its in parse_qs(urlsplit(answer.headers["Location"]).query).items()
    }


def come_back(console, **query):
    return console.browser.get("/console/sign-in/oidc/return", query_string=query)


def test_an_issuer_signs_in_by_code_and_proof(with_issuer, stub):
    stub.documents["/token"] = {"access_token": stub.a_token()}
    answer = with_issuer.open("/sign-in/oidc")
    wanted = asked(answer)

    assert wanted["response_type"] == "code"
    assert wanted["redirect_uri"] == "https://reset.example.com/console/sign-in/oidc/return"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-keyturn-console-oidc=")
    for attribute in ("HttpOnly", "Secure", "SameSite=Lax", "Max-Age=600"):
        assert attribute in cookie

    entered = come_back(with_issuer, code="c-1", state=wanted["state"], iss=stub.url)

    assert entered.status_code == 200
    assert "SameSite=Strict" in entered.headers.getlist("Set-Cookie")[0] + str(entered.headers)
    (form,) = stub.posted
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert (challenge, wanted["code_challenge_method"]) == (wanted["code_challenge"], "S256")
    assert (form["code"], form["client_id"]) == ("c-1", "console")
    assert with_issuer.open("/resets").status_code == 200
    assert with_issuer.open("/providers").status_code == 403  # ORG_OWNER in acme, no more


@pytest.mark.parametrize(
    "change", [{"state": "other"}, {"state": ""}, {"code": ""}, {"iss": "https://evil.example"}]
)
def test_an_answer_that_does_not_fit_signs_nobody_in(with_issuer, stub, change):
    stub.documents["/token"] = {"access_token": stub.a_token()}
    wanted = asked(with_issuer.open("/sign-in/oidc"))

    answer = come_back(with_issuer, **{"code": "c", "state": wanted["state"]} | change)

    assert answer.status_code == 401
    assert stub.posted == []
    assert with_issuer.open("/resets").status_code == 401


def test_an_answer_without_the_browser_that_began_is_refused(with_issuer, stub):
    wanted = asked(with_issuer.open("/sign-in/oidc"))
    with_issuer.browser = with_issuer.app.test_client()

    assert come_back(with_issuer, code="c", state=wanted["state"]).status_code == 401


def test_an_answer_that_is_late_is_refused(with_issuer, stub, monkeypatch):
    wanted = asked(with_issuer.open("/sign-in/oidc"))
    monkeypatch.setattr(oidc, "SECONDS", -1)

    assert come_back(with_issuer, code="c", state=wanted["state"]).status_code == 401


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ({"access_token": "opaque"}, 401),
        ({}, 401),
        ([], 503),
        (b"no JSON", 503),
        (None, 503),
        ({"error": "invalid_grant"}, 401),
    ],
)
def test_an_issuer_that_gives_no_token_signs_nobody_in(with_issuer, stub, token, status):
    stub.documents["/token"] = token
    wanted = asked(with_issuer.open("/sign-in/oidc"))

    answer = come_back(with_issuer, code="c", state=wanted["state"])

    assert answer.status_code == status
    assert with_issuer.open("/resets").status_code == 401


@pytest.mark.parametrize("where", ["http://evil.example/x", "javascript:alert(1)", None, "//x"])
def test_an_issuer_cannot_lead_to_where_no_https_is(with_issuer, stub, where):
    stub.documents[DISCOVERY]["authorization_endpoint"] = where

    assert with_issuer.open("/sign-in/oidc").status_code == 503


def test_an_issuer_that_is_away_is_said_to_be(with_issuer, stub):
    stub.stop()

    assert with_issuer.open("/sign-in/oidc").status_code == 503


def test_a_token_too_long_for_a_cookie_is_refused_with_words(with_issuer, stub):
    stub.documents["/token"] = {"access_token": stub.a_token(more="x" * 4000)}
    wanted = asked(with_issuer.open("/sign-in/oidc"))

    answer = come_back(with_issuer, code="c", state=wanted["state"])

    assert answer.status_code == 400
    assert "too long for a cookie" in see(answer).text


def test_without_a_client_there_is_no_such_page(console):
    assert console.open("/sign-in/oidc").status_code == 404
    assert "oidc" not in console.open("/sign-in").get_data(as_text=True)
