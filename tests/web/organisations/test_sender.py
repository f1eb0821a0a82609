"""An organisation's sender: shown without secrets, changed by one editor at a time, checked."""

from __future__ import annotations

import pytest

from shared.models import Channel
from shared.organisations import domain_check
from shared.organisations.domain_check import DomainCheck
from shared.organisations.sender import From
from shared.settings import TwilioAccount
from tests.support.builders import a_token
from tests.support.dns_server import DnsServer
from tests.support.sender_builders import (
    OWN_KEY,
    OWN_SECRETS,
    OWN_TOKEN,
    SENDGRID,
    TWILIO,
    a_gateway_account,
    save_sender,
)
from tests.support.wire import Wire, problem

PATH = "/keyturn/v1/organisations/acme/sender"
WHY = {"reason": "a test"}
BODY = {
    "email": {"fromAddress": "help@acme.example", "fromName": "Acme", "sendgrid": SENDGRID},
    "sms": {"twilio": TWILIO, "fallback": True},
}


class SenderWire(Wire):
    """A wire on which an organisation says how it sends."""

    def put(self, body, *, etag=None, **headers):
        if etag:
            headers["If_Match"] = etag
        return self.call(PATH, method="PUT", json=body | WHY, headers=self.headers(**headers))

    def get(self):
        return self.call(PATH, method="GET", headers=self.headers())

    def delete(self, etag):
        headers = self.headers(If_Match=etag)
        return self.call(f"{PATH}?reason=a+test", method="DELETE", headers=headers)


@pytest.fixture
def wire(fake_client):
    return SenderWire(fake_client)


def test_what_was_saved_is_shown_without_its_secrets(wire):
    saved, shown = wire.put(BODY), wire.get()

    assert saved.status_code == shown.status_code == 200, saved.get_data(as_text=True)
    assert shown.get_json() == saved.get_json()
    assert shown.headers["ETag"] == saved.headers["ETag"] == '"1"'
    body = shown.get_json()
    assert body["email"]["fromAddress"] == "help@acme.example"
    assert body["email"]["sendgrid"] == {}
    assert body["sms"]["twilio"] == {"accountSid": TWILIO["accountSid"], "from": TWILIO["from"]}
    assert body["sms"]["countries"] == ["CH"]
    status = body["status"]
    assert status["secrets"]["email.sendgrid.apiKey"][0]["hint"] == OWN_KEY[-4:]
    assert status["secrets"]["email.sendgrid.apiKey"][0]["setAt"]
    assert status["from"]["state"] == "unverified"
    assert status["from"]["inUse"] == wire.services.settings.email_from
    assert status["providers"] == ["org:acme:sendgrid", "org:acme:twilio"]


def test_no_secret_is_in_an_answer_the_trail_or_the_metrics(wire):
    token = a_token(wire.services, instance=("IAM_OWNER",))
    told = [wire.put(BODY), wire.get(), wire.put(BODY, etag='"1"'), wire.put(BODY)]
    told.append(wire.put({"email": {"sendgrid": {"apiKey": f"{OWN_KEY} {OWN_TOKEN}"}}}, etag='"2"'))
    told.append(wire.delete('"2"'))
    told += [
        wire.call(path, method="GET", headers=wire.headers(token))
        for path in ("/metrics", "/keyturn/v1/audit", "/keyturn/v1/status")
    ]

    text = "".join(each.get_data(as_text=True) for each in told)

    assert [each.status_code for each in told] == [200, 200, 200, 428, 400, 200, 200, 200, 200]
    assert not [secret for secret in OWN_SECRETS if secret in text]
    assert "organisation.sender" in text


def test_what_is_shown_can_be_written_back(wire):
    wire.put(BODY)
    shown = wire.get()
    again = {name: shown.get_json()[name] for name in ("email", "sms")}

    answer = wire.put(again, etag=shown.headers["ETag"])

    assert answer.status_code == 200, answer.get_data(as_text=True)
    route = wire.services.senders.find("acme").routes[Channel.SMS]
    (token,) = route.accounts["twilio"]["authToken"]
    assert wire.services.senders.unseal("acme", token.text) == OWN_TOKEN


def test_two_editors_do_not_overwrite_each_other(wire):
    seen = wire.put(BODY).headers["ETag"]
    first = wire.put({"email": BODY["email"]}, etag=seen)

    assert problem(wire.put(BODY, etag=seen))[0::2] == (412, "KEYTURN-VersionConflict")
    assert problem(wire.put(BODY))[0::2] == (428, "KEYTURN-VersionMissing")
    assert problem(wire.delete(seen))[0::2] == (412, "KEYTURN-VersionConflict")
    assert wire.get().get_json()["sms"] is None
    assert wire.delete(first.headers["ETag"]).status_code == 200
    assert wire.get().get_json()["email"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": {"fromAddress": "acme"}}, "email.fromAddress"),
        ({"email": {"sendgrid": {"apiKey": None}}}, "email.sendgrid.apiKey"),
        ({"email": 7}, "email"),
        ({"sms": {"twilio": TWILIO | {"from": "Acme"}}}, "sms.countries"),
        ({"mail": {}}, "mail"),
        ({"email": {"http": a_gateway_account("https://10.0.0.1/x")}}, "email.http.url"),
        ({"email": {"smtp": {"url": "smtp://127.0.0.1"}}}, "email.smtp.url"),
        ({"sms": {"providers": ["twilio"]}}, "sms.twilio"),
        ({"sms": {"countries": ["XX"]}}, "sms.countries"),
        ({"email": {"fromAddress": "a@acme.example", "fallback": True}}, "email.fallback"),
    ],
)
def test_a_refusal_names_the_field_and_saves_nothing(wire, body, field):
    wire.put(BODY)
    before = wire.get().get_json()

    answer = wire.put(body, etag='"1"')

    assert answer.status_code == 400
    assert field in answer.get_json()["message"]
    assert wire.get().get_json() == before


def test_a_reason_is_asked_for(wire):
    answer = wire.call(PATH, method="PUT", json=BODY, headers=wire.headers())

    assert answer.status_code == 400
    assert "reason" in answer.get_json()["message"]


def test_status_tells_of_a_from_that_is_not_used(wire):
    token = a_token(wire.services, instance=("IAM_OWNER",))

    def troubles():
        answer = wire.call("/keyturn/v1/status", method="GET", headers=wire.headers(token))
        return [each for each in answer.get_json()["troubles"] if "From" in each]

    assert troubles() == []
    wire.put(BODY)
    assert "keyturn org sender check acme" in troubles()[0]
    wire.delete('"1"')
    assert troubles() == []


# What it means for a request.


def sms(wire, user_id="ada"):
    return wire.reset(user_id, body={"type": "TYPE_SMS"})


@pytest.fixture
def without_sms(fake_client):
    return SenderWire(fake_client, sms_providers=())


def test_an_organisation_with_its_own_twilio_needs_none_of_the_installation(without_sms):
    before = sms(without_sms)
    without_sms.put({"sms": {"twilio": TWILIO}})

    after = sms(without_sms)

    assert problem(before) == (503, 14, "KEYTURN-NoProvider")
    assert after.status_code == 200, after.get_data(as_text=True)


def test_another_organisations_twilio_helps_nobody_else(without_sms):
    save_sender(without_sms.services, {"sms": {"twilio": TWILIO}}, org_id="beta")

    assert problem(sms(without_sms)) == (503, 14, "KEYTURN-NoProvider")


@pytest.mark.parametrize(
    ("own", "status"),
    [
        ({"twilio": TWILIO}, 200),
        ({"twilio": TWILIO | {"from": "+4915112345678"}}, 400),
        ({"twilio": TWILIO | {"from": "+4915112345678"}, "countries": ["DE", "CH"]}, 200),
        ({"twilio": TWILIO, "countries": ["DE"]}, 400),
        ({"twilio": TWILIO, "countries": ["CH"], "fallback": True}, 400),
    ],
    ids=["its number's", "another country's", "listed", "not listed", "not the installation's"],
)
def test_sms_go_where_its_own_account_may_send(fake_client, own, status):
    ours = TwilioAccount(account_sid="AC1", auth_token=("x",), from_="+12025550123")
    wire = SenderWire(fake_client, sms_providers=("twilio",), twilio_accounts=(ours,))
    wire.put({"sms": own})

    answer = sms(wire)

    assert answer.status_code == status
    if status == 400:
        assert problem(answer) == (400, 9, "KEYTURN-CountryNotAllowed")


# What DNS says.

OWNER = {"_keyturn.acme.example": ["keyturn=abc"]}
SPF = {"acme.example": ["v=spf1 include:relay.example -all", "other=1"]}
DKIM = {"s1._domainkey.acme.example": ["v=DKIM1; k=rsa; p=MIGf"]}
DMARC = {"_dmarc.acme.example": ["v=DMARC1; p=reject"]}
MINE = From("help@acme.example")


@pytest.mark.parametrize(
    ("records", "broken", "providers", "state", "findings"),
    [
        (OWNER | SPF | DKIM | DMARC, (), ["sendgrid"], "verified", "pass pass pass pass"),
        (OWNER | DKIM | DMARC, (), ["sendgrid"], "verified", "pass fail pass pass"),
        (OWNER | SPF | DMARC, (), ["smtp"], "verified", "pass pass unknown pass"),
        (OWNER | SPF, (), ["smtp"], "verified", "pass pass unknown none"),
        (SPF | DKIM | DMARC, (), ["sendgrid"], "unverified", "fail pass pass pass"),
        (OWNER | SPF | DMARC, (), ["sendgrid"], "unverified", "pass pass fail fail"),
        (OWNER | DMARC, (), ["smtp"], "unknown", "pass fail unknown unknown"),
        ({}, (), ["sendgrid"], "unverified", "fail fail fail none"),
        (
            OWNER | {"acme.example": ["v=spf1 -all", "v=spf1 +all"]},
            (), ["smtp"], "unverified", "pass fail unknown none",
        ),
        (
            OWNER | {"acme.example": ["v=spf1 -all"]},
            (), ["smtp"], "unverified", "pass fail unknown none",
        ),
        (
            OWNER | {"s1._domainkey.acme.example": ["v=DKIM1; p="]},
            (), ["sendgrid"], "unverified", "pass fail fail none",
        ),
        (
            OWNER | {"acme.example": ["v=spf10 -all"]},
            (), ["smtp"], "unverified", "pass fail unknown none",
        ),
        (
            {"_keyturn.acme.example": ["keyturn=abcd"]} | SPF,
            (), ["smtp"], "unverified", "fail pass unknown none",
        ),
        (OWNER | SPF, ("_dmarc.acme.example",), ["smtp"], "unknown", "pass pass unknown unknown"),
        (SPF | DMARC, ("_keyturn.acme.example",), ["smtp"], "unknown",
         "unknown pass unknown pass"),
        (OWNER | DMARC, ("acme.example",), ["smtp"], "unknown", "pass unknown unknown unknown"),
    ],
)  # fmt: skip
def test_what_dns_says_of_a_from(records, broken, providers, state, findings):
    with DnsServer(records, broken=broken) as server:
        found = DomainCheck("127.0.0.1", server.port).check(MINE, "keyturn=abc", providers)

    names = ("owner", "spf", "dkim", "dmarc")
    assert found == (state, dict(zip(names, findings.split(), strict=True)))


def test_a_policy_of_the_domain_above_counts_and_so_do_own_selectors():
    mine = From("help@mail.acme.example", dkim_selectors=("x1", "x2"))
    records = {
        "_keyturn.mail.acme.example": ["keyturn=abc"],
        "x2._domainkey.mail.acme.example": ["p=MIGf"],
    }
    with DnsServer(records | DMARC) as server:
        state, findings = DomainCheck("127.0.0.1", server.port).check(mine, "keyturn=abc", ["smtp"])

    assert state == "verified"
    assert findings["dmarc"] == "pass"
    assert "_dmarc.acme.example" in server.asked


def test_a_resolver_that_does_not_answer_is_unknown(monkeypatch):
    monkeypatch.setattr(domain_check, "LOOKUP_SECONDS", 0.05)
    with DnsServer({}) as server:
        port = server.port

    state, findings = DomainCheck("127.0.0.1", port).check(MINE, "keyturn=abc", ["smtp"])

    assert state == "unknown"
    assert set(findings.values()) == {"unknown"}
