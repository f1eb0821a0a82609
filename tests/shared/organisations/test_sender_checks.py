"""What an organisation writes of its sender: what is taken, kept, turned, refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.fernet import InvalidToken

from shared.errors import InvalidRequestError, VersionConflictError
from shared.models import Channel
from shared.organisations.sender import own_name, parse_sender, write_sender
from tests.support.builders import an_organisation, some_services
from tests.support.callback_builders import SendGridKey
from tests.support.provider_builders import GATEWAY_SECRET
from tests.support.sender_builders import (
    OWN_KEY,
    OWN_SECRETS,
    OWN_TOKEN,
    SENDGRID,
    TWILIO,
    a_gateway_account,
    read_sender,
    save_sender,
)

RELAY = {"url": "smtp://user:relay-password@relay.acme.example:2525?starttls=required"}
EVERYTHING = {
    "email": {
        "fromAddress": "Help@acme.example",
        "fromName": "Acme",
        "dkimSelectors": ["s1", "20230601"],
        "providers": ["smtp", "sendgrid", "http"],
        "fallback": True,
        "sendgrid": SENDGRID,
        "smtp": RELAY,
        "http": a_gateway_account(),
    },
    "sms": {"providers": ["twilio", "http"], "twilio": TWILIO, "http": a_gateway_account()},
}


@pytest.fixture
def services(fake_client):
    services = some_services(fake_client)
    an_organisation(services)
    return services


def texts(services, sender, channel, name, field):
    """The values in force, the newest first."""
    values = sender.routes[channel].accounts[name][field]
    return [services.senders.unseal("acme", each.text) for each in values]


def test_everything_is_taken_and_stored(services):
    sender = save_sender(services, EVERYTHING)

    email, sms = sender.routes[Channel.EMAIL], sender.routes[Channel.SMS]
    assert email.providers == ("smtp", "sendgrid", "http")
    assert (email.has_fallback, sms.has_fallback) == (True, False)
    assert sms.countries == ("CH",)
    assert (sender.from_.address, sender.from_.state) == ("Help@acme.example", "unverified")
    assert texts(services, sender, Channel.SMS, "twilio", "authToken") == [OWN_TOKEN]
    assert services.callers.find_organisation("acme").sender == sender
    assert parse_sender(write_sender(sender)) == sender


def test_no_secret_is_stored_as_it_is_or_shown_in_a_repr(services, fake_client):
    sender = save_sender(services, EVERYTHING)

    stored = str(fake_client.hgetall("kt:org:acme")) + repr(sender)

    assert not [secret for secret in OWN_SECRETS if secret in stored]
    assert sender.routes[Channel.EMAIL].accounts["sendgrid"]["apiKey"][0].hint == OWN_KEY[-4:]
    assert sender.routes[Channel.EMAIL].accounts["smtp"]["url"][0].hint == "relay.acme.example"


def test_a_secret_of_one_organisation_opens_nothing_in_another(services):
    sealed = services.senders.seal("acme", OWN_KEY)

    with pytest.raises(InvalidToken):
        services.senders.unseal("beta", sealed)


def test_a_short_secret_shows_nothing_of_itself(services):
    sender = read_sender(services, {"sms": {"twilio": TWILIO | {"authToken": "short"}}})

    assert sender.routes[Channel.SMS].accounts["twilio"]["authToken"][0].hint == ""


def test_a_secret_that_is_left_out_stays(services):
    before = save_sender(services, EVERYTHING)
    bare = {
        "email": EVERYTHING["email"] | {"sendgrid": {}, "smtp": {}, "http": {"url": "https://g.example"}},
        "sms": {"twilio": {"accountSid": "AC1", "from": "+41790000009"}},
    }  # fmt: skip

    after = save_sender(services, bare)

    for channel, name, field in [
        (Channel.EMAIL, "sendgrid", "apiKey"), (Channel.EMAIL, "smtp", "url"),
        (Channel.EMAIL, "http", "secret"), (Channel.SMS, "twilio", "authToken"),
    ]:  # fmt: skip
        accounts = (each.routes[channel].accounts[name][field] for each in (before, after))
        assert len(set(accounts)) == 1
    assert "http" not in after.routes[Channel.SMS].accounts


def test_a_new_secret_goes_before_the_present_one_which_still_verifies(services):
    save_sender(services, EVERYTHING)

    def turn(token):
        sender = save_sender(services, {"sms": {"twilio": TWILIO | {"authToken": token}}})
        return texts(services, sender, Channel.SMS, "twilio", "authToken")

    assert turn("the-second-token") == ["the-second-token", OWN_TOKEN]
    assert turn("the-second-token") == ["the-second-token", OWN_TOKEN]
    assert turn("the-third-token") == ["the-third-token", "the-second-token"]
    assert turn(["the-third-token"]) == ["the-third-token"]
    assert turn(["a-fourth-token", "the-third-token"]) == ["a-fourth-token", "the-third-token"]


def test_what_only_sends_is_replaced(services):
    save_sender(services, EVERYTHING)
    sender = save_sender(services, {"email": {"sendgrid": {"apiKey": "SG.another-key-of-theirs"}}})

    assert texts(services, sender, Channel.EMAIL, "sendgrid", "apiKey") == [
        "SG.another-key-of-theirs"
    ]


def test_secrets_survive_a_change_of_the_installations_keys(fake_client):
    old, new = "o" * 32, "n" * 32
    before = some_services(fake_client, secret_keys=(old,))
    an_organisation(before)
    save_sender(before, EVERYTHING)
    some_services(fake_client, secret_keys=(new, old)).digests.check()

    services = some_services(fake_client, secret_keys=(new,))

    sender = services.senders.find("acme")
    assert texts(services, sender, Channel.SMS, "http", "secret") == [GATEWAY_SECRET]


def test_a_verified_from_stays_so_until_its_domain_changes(services):
    sender = save_sender(services, EVERYTHING)
    verified = replace(sender, from_=replace(sender.from_, state="verified"))
    services.senders.save("acme", verified, version=sender.version)

    def state(address):
        return save_sender(services, {"email": {"fromAddress": address}}).from_.state

    assert state("reset@acme.example") == "verified"
    assert state("reset@other.example") == "unverified"
    assert state("reset@acme.example") == "unverified"


def test_two_editors_do_not_overwrite_each_other(services):
    seen = services.senders.find("acme")
    services.senders.save("acme", read_sender(services, EVERYTHING), version=seen.version)

    with pytest.raises(VersionConflictError):
        services.senders.save("acme", None, version=seen.version)

    now = services.senders.find("acme")
    assert now.version == seen.version + 1
    services.senders.save("acme", None, version=now.version)
    assert services.senders.find("acme").version == now.version + 1
    assert services.callers.find_organisation("acme").sender is None


def test_an_organisation_that_is_not_there_gets_no_sender(services, fake_client):
    with pytest.raises(VersionConflictError):
        services.senders.save("nowhere", read_sender(services, EVERYTHING), version=0)

    assert not fake_client.exists("kt:org:nowhere")


def test_without_an_order_the_accounts_are_the_order(services):
    sender = read_sender(services, {"email": {"http": a_gateway_account(), "sendgrid": SENDGRID}})

    assert sender.routes[Channel.EMAIL].providers == ("sendgrid", "http")


def test_own_providers_have_names_of_their_own():
    names = {
        own_name(org, channel, name)
        for org in ("a", "b")
        for channel, name in [
            (Channel.EMAIL, "sendgrid"), (Channel.EMAIL, "http"), (Channel.SMS, "http"),
        ]
    }  # fmt: skip

    assert len(names) == 6
    assert "org:a:sendgrid" in names


TWO_KEYS = ",".join(SendGridKey().public for _ in range(2))
EMAIL, SMS = EVERYTHING["email"], EVERYTHING["sms"]


def mail(**fields):
    return {"email": EMAIL | fields}


def sms(**fields):
    return {"sms": SMS | fields}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"mail": {}}, "mail: is no field; the nearest is email"),
        ({"e\nmail": {}}, "?: is no field"),
        ({"email": []}, "email: must be an object"),
        ({"email": "x"}, "email: must be an object"),
        (mail(sendgird=SENDGRID), "email.sendgird: is no field; the nearest is sendgrid"),
        (mail(twilio=TWILIO), "email.twilio: is no field"),
        (mail(sendgrid="SG.x"), "email.sendgrid: must be an object"),
        (mail(sendgrid={"key": "x"}), "email.sendgrid.key: is no field; the nearest is apiKey"),
        (mail(sendgrid={"apiKey": ""}), "email.sendgrid.apiKey: must be a text"),
        (mail(sendgrid={"apiKey": 7}), "email.sendgrid.apiKey: must be a text"),
        (mail(sendgrid={"apiKey": None}), "email.sendgrid.apiKey: is missing"),
        (mail(sendgrid={"apiKey": "a b"}), "email.sendgrid.apiKey: must be one word"),
        (mail(sendgrid={"apiKey": "ä" * 20}), "email.sendgrid.apiKey: must be one word"),
        (mail(sendgrid={"apiKey": "x\nBcc: y"}), "email.sendgrid.apiKey: must be one word"),
        (mail(sendgrid={"apiKey": "x" * 1001}), "email.sendgrid.apiKey: must be a text of at most"),
        (mail(sendgrid={"apiKey": ["a", "b"]}), "email.sendgrid.apiKey: must have at most 1"),
        (mail(sendgrid=SENDGRID | {"webhookPublicKey": "no"}),
         "email.sendgrid.webhookPublicKey: must be the verification key"),
        (mail(sendgrid=SENDGRID | {"webhookPublicKey": TWO_KEYS}),
         "email.sendgrid.webhookPublicKey: must be one value"),
        (mail(smtp={"url": "ftp://relay.example"}), "email.smtp.url: must look like smtp://"),
        (mail(smtp={"url": "relay.example"}), "email.smtp.url: must look like smtp://"),
        (mail(http={"url": "https://g.example"}), "email.http.secret: is missing"),
        (mail(http={"secret": GATEWAY_SECRET}), "email.http.url: is missing"),
        (mail(http=a_gateway_account("ftp://g.example")), "email.http.url: must be a URL"),
        (mail(http=a_gateway_account("https://u:p@g.example")),
         "email.http.url: must hold neither"),
        (mail(http=a_gateway_account("https://g.example/#x")), "email.http.url: must hold neither"),
        (mail(http={"url": "https://g.example", "secret": "hush"}),
         "email.http.secret: must be whsec_"),
        (mail(providers=["smtp", "smtp"]), "email.providers: must list each"),
        (mail(providers=["twilio"]), "email.providers: must list each"),
        (mail(providers="smtp"), "email.providers: must be a list"),
        (mail(providers=[7]), "email.providers: must be a list"),
        (mail(providers=["http"], http=None), "email.http: is missing, and in the list"),
        (mail(fallback="yes"), "email.fallback: must be true or false"),
        (mail(fallback=1), "email.fallback: must be true or false"),
        (mail(fromAddress="Acme"), "email.fromAddress: must be an e-mail address"),
        (mail(fromAddress="a@acme.example, b@x.example"), "email.fromAddress: must be an e-mail"),
        (mail(fromAddress=7), "email.fromAddress: must be a text"),
        (mail(fromAddress=None), "email.fromAddress: is missing"),
        (mail(fromName="two\nlines"), "email.fromName: must be one line"),
        (mail(fromName="x" * 61), "email.fromName: must have at most 60"),
        (mail(dkimSelectors=["s1.", ""]), "email.dkimSelectors: must be at most 5 names"),
        (mail(dkimSelectors=["a"] * 6), "email.dkimSelectors: must be at most 5 names"),
        (mail(dkimSelectors="s1"), "email.dkimSelectors: must be a list"),
        (sms(sendgrid=SENDGRID), "sms.sendgrid: is no field"),
        (sms(fromAddress="a@b.example"), "sms.fromAddress: is no field"),
        (sms(countries=["XX"]), "sms.countries: XX is no region"),
        (sms(twilio=None, providers=["http"]), "sms.countries: is missing"),
        (sms(twilio=TWILIO | {"from": "Acme"}), "sms.countries: is missing"),
        (sms(twilio=TWILIO | {"from": "+41x"}), "sms.twilio.from: must be a phone number"),
        (sms(twilio=TWILIO | {"from": "A\nB"}), "sms.twilio.from: must be one line"),
        (sms(twilio=TWILIO | {"accountSid": "../x"}), "sms.twilio.accountSid: must be letters"),
        (sms(twilio={"accountSid": "AC1", "from": "+41790000009"}),
         "sms.twilio.authToken: is missing, and so is apiKeySecret"),
        (sms(twilio={"accountSid": "AC1", "apiKeySecret": "x", "from": "+41790000009"}),
         "sms.twilio.apiKeySid: is missing"),
        (sms(twilio={"accountSid": "AC1", "authToken": "x"}), "sms.twilio.from: is missing"),
        (sms(twilio=TWILIO | {"authToken": ["a", "b", "c"]}), "sms.twilio.authToken: must have at"),
        (sms(twilio=TWILIO | {"authToken": {"x": 1}}), "sms.twilio.authToken: must be a text"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_and_repeats_no_value(services, body, refusal):
    with pytest.raises(InvalidRequestError) as caught:
        read_sender(services, body)

    assert caught.value.message.startswith(refusal)
    assert not [secret for secret in OWN_SECRETS if secret in caught.value.message]


@pytest.mark.parametrize(
    "url",
    ["smtp://127.0.0.1", "smtp://localhost:25", "smtps://10.0.0.1", "smtp://[::1]", "smtp://127.1",
     "smtp://a.localhost", "smtp://169.254.169.254:80"],
)  # fmt: skip
def test_a_relay_at_a_private_address_is_refused(services, url):
    with pytest.raises(InvalidRequestError, match=r"^email\.smtp\.url: leads to a private address"):
        read_sender(services, {"email": {"smtp": {"url": url}}}, allow_private=False)


@pytest.mark.parametrize("url", ["http://g.example", "https://127.0.0.1", "https://10.1.2.3/x"])
def test_a_gateway_at_a_private_address_is_refused(services, url):
    with pytest.raises(InvalidRequestError, match=r"^email\.http\.url: "):
        read_sender(services, {"email": {"http": a_gateway_account(url)}}, allow_private=False)
