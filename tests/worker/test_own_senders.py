"""Organisations with accounts of their own: who carries, with which From, and what stays apart."""

from __future__ import annotations

import json
import threading
import time
import weakref
from dataclasses import replace

import pytest
import structlog

from shared.errors import AccountProviderError
from shared.models import Channel, Outcome, Queue, Status
from shared.organisations.providers import OwnProviders
from shared.recording import ResetRequest, record_reset
from shared.settings import TwilioAccount
from shared.store.admin.circuits import CircuitState
from shared.store.admin.pauses import Scope
from tests.support.builders import a_user, an_organisation, some_services
from tests.support.delivery_services import (
    ScriptedProvider,
    a_bulk_renderer,
    some_delivery_services,
)
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.sender_builders import (
    OWN_KEY,
    OWN_SECRETS,
    OWN_SID,
    SENDGRID,
    TWILIO,
    a_gateway_account,
    save_sender,
)
from tests.support.smtp_server import SmtpServer
from tests.support.waiting import wait_until
from worker.bulk.delivery import BulkDelivery

FROM = {"fromAddress": "help@acme.example", "fromName": "Acme helps"}
OWN_MAIL, OWN_SMS = "org:acme:sendgrid", "org:acme:twilio"


@pytest.fixture
def stub():
    with ProviderStub() as running:
        yield running


class House:
    """A worker of an installation whose providers obey; the organisations' are at the stub."""

    def __init__(self, client, stub, **settings):
        self.mail = ScriptedProvider(name="ours")
        self.worker = some_delivery_services(
            client,
            self.mail,
            ScriptedProvider(name="our-sms", channel=Channel.SMS),
            sendgrid_api_url=stub.url,
            twilio_accounts=(TwilioAccount(account_sid="AC1", api_url=stub.url),),
            webhook_allow_private=True,
            **settings,
        )
        self.services, self.delivery = self.worker.services, self.worker.delivery
        self.look, self.carriers = self.worker.look, self.worker.carriers

    def deliver(self, user_id="ada", **fields):
        reset_id = self.worker.record(user_id, **fields)
        self.delivery.deliver(reset_id)
        return reset_id

    def again(self, reset_id):
        self.worker.stores.make_due(reset_id)
        self.delivery.deliver(reset_id)

    def settle(self, state="verified", org_id="acme"):
        """The From of an organisation is in this state."""
        sender = self.services.senders.find(org_id)
        changed = replace(sender, from_=replace(sender.from_, state=state))
        self.services.senders.save(org_id, changed, version=sender.version)


@pytest.fixture
def house(fake_client, stub):
    house = House(fake_client, stub)
    yield house
    close_all(house)


def close_all(house):
    """Close what a process closes at its end."""
    for _, providers in house.delivery.router._own._built.values():
        for provider in providers:
            provider.close()


def test_an_organisation_sends_by_its_own_account(house, stub):
    save_sender(house.services, {"email": FROM | {"sendgrid": SENDGRID}})
    house.settle()

    reset_id = house.deliver()

    (request,) = stub.requests
    assert request.headers["authorization"] == f"Bearer {OWN_KEY}"
    assert request.json["from"] == {"email": "help@acme.example", "name": "Acme helps"}
    assert house.carriers(reset_id) == [OWN_MAIL]
    assert house.look(reset_id).status is Status.ACCEPTED
    assert not house.mail.messages


def test_without_anything_the_installation_sends_in_the_organisation_s_name(house, stub):
    reset_id = house.deliver()

    (message,) = house.mail.messages
    address = house.services.settings.email_from
    assert (message.from_address, message.from_name) == (address, "Acme")
    assert house.carriers(reset_id) == ["ours"]
    assert not stub.requests


@pytest.mark.parametrize("state", ["unverified", "unknown"])
def test_a_from_that_is_not_verified_is_not_used(house, state):
    save_sender(house.services, {"email": FROM})
    house.settle(state=state)

    house.deliver()

    (message,) = house.mail.messages
    assert message.from_address == house.services.settings.email_from
    assert message.from_name == "Acme helps"


def test_without_a_name_of_the_from_the_organisations_stands(house):
    save_sender(house.services, {"email": {"fromAddress": "help@acme.example"}})

    house.deliver()

    assert house.mail.messages[0].from_name == "Acme"


@pytest.mark.parametrize("state", ["verified", "trusted"])
def test_a_verified_from_goes_out_by_the_installations_account_too(house, state):
    save_sender(house.services, {"email": FROM})
    house.settle(state=state)

    house.deliver()

    assert house.mail.messages[0].from_address == "help@acme.example"


def test_a_from_that_the_installations_account_refuses_stops_nobody_elses_mail(house):
    save_sender(house.services, {"email": FROM})
    house.settle()
    house.mail.answers[:0] = [AccountProviderError("http_403", "sender not verified")]

    reset_id = house.deliver()
    house.again(reset_id)

    assert [each.from_address for each in house.mail.messages] == [
        "help@acme.example", house.services.settings.email_from,
    ]  # fmt: skip
    assert house.look(reset_id).status is Status.ACCEPTED
    assert house.services.circuits.read(["ours"])["ours"].state is CircuitState.CLOSED


@pytest.mark.parametrize("has_fallback", [True, False])
def test_only_where_it_says_so_the_installations_provider_carries(house, stub, has_fallback):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID, "fallback": has_fallback}})
    stub.outage = Answer(401)

    reset_id = house.deliver()
    house.again(reset_id)

    carriers = house.carriers(reset_id)
    assert carriers == ([OWN_MAIL, "ours"] if has_fallback else [OWN_MAIL])
    assert house.look(reset_id).status is (Status.ACCEPTED if has_fallback else Status.RETRYING)


def test_own_providers_fail_over_in_their_order(house, stub):
    with SmtpServer() as relay:
        own = {"providers": ["sendgrid", "smtp"], "sendgrid": SENDGRID, "smtp": {"url": relay.url}}
        save_sender(house.services, {"email": own})
        stub.outage = Answer(403)

        reset_id = house.deliver()
        house.again(reset_id)

        assert house.carriers(reset_id) == [OWN_MAIL, "org:acme:smtp"]
        assert reset_id in relay.reset_ids


def test_two_organisations_do_not_touch_each_other(house, stub, fake_client):
    """One has a relay, one SendGrid; the second one's outage concerns the second one alone."""
    an_organisation(house.services, "beta")
    a_user(house.services, "bob", orgId="beta", email="bob@example.com", phone="+41791234568")
    with SmtpServer() as relay:
        save_sender(house.services, {"email": FROM | {"smtp": {"url": relay.url}}})
        house.settle()
        save_sender(house.services, {"email": {"sendgrid": SENDGRID}}, org_id="beta")
        stub.outage = Answer(401)

        bobs = house.deliver("bob", org_id="beta")
        adas = house.deliver()

        assert adas in relay.reset_ids
        circuits = house.services.circuits.read([OWN_MAIL, "org:beta:sendgrid", "ours"])
        assert {name: each.state.value for name, each in circuits.items()} == {
            OWN_MAIL: "closed", "org:beta:sendgrid": "open", "ours": "closed",
        }  # fmt: skip
        assert house.worker.outcomes(bobs) == [Outcome.ACCOUNT]
        house.delivery.health.refresh()
        waiting = house.deliver("bob", org_id="beta")
        assert house.carriers(waiting) == []
        assert house.look(waiting).reason == "circuit_open"


def test_an_own_twilio_account_sends_and_reports_to_a_path_of_its_own(house, stub):
    save_sender(house.services, {"sms": {"twilio": TWILIO}})

    reset_id = house.deliver(channel=Channel.SMS)

    (request,) = stub.requests
    assert f"/Accounts/{OWN_SID}/" in request.path
    assert request.form["From"] == TWILIO["from"]
    base = house.services.settings.link_base
    assert request.form["StatusCallback"].startswith(
        f"{base}/callbacks/twilio/acme?resetId={reset_id}"
    )
    assert house.carriers(reset_id) == [OWN_SMS]


def test_a_gateway_of_its_own_is_told_the_organisation(house, stub):
    save_sender(
        house.services,
        {"sms": {"http": a_gateway_account(f"{stub.url}/own"), "countries": ["CH"]}},
    )

    reset_id = house.deliver(channel=Channel.SMS)

    (taken,) = stub.taken
    assert taken["call"]["orgId"] == "acme"
    assert taken["call"]["senderName"] == "Acme"
    assert house.carriers(reset_id) == ["org:acme:http-sms"]


def test_a_gateway_at_a_private_address_is_not_called_unless_that_is_allowed(fake_client, stub):
    services = some_delivery_services(fake_client)
    save_sender(services.services, {"email": {"http": a_gateway_account(f"{stub.url}/own")}})

    reset_id = services.record()
    services.deliver(reset_id)

    assert not stub.requests
    assert services.look(reset_id).attempts[0].detail.startswith("the name leads to no address")


def test_an_attempt_in_doubt_stays_with_the_organisations_provider(house, stub):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID, "fallback": True}})
    stub.answers(Answer(502))

    reset_id = house.deliver()
    house.again(reset_id)

    assert house.carriers(reset_id) == [OWN_MAIL, OWN_MAIL]
    assert not house.mail.messages


@pytest.mark.parametrize("instead", [{}, {"smtp": {"url": "smtp://relay.acme.example"}}])
def test_an_attempt_in_doubt_goes_to_nobody_else_when_its_account_was_removed(house, stub, instead):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID, "fallback": True}})
    stub.answers(Answer(502))
    reset_id = house.deliver()

    save_sender(house.services, {"email": instead} if instead else {})
    house.delivery.router.find_profile.cache.clear()
    house.again(reset_id)

    assert house.carriers(reset_id) == [OWN_MAIL]
    found = house.look(reset_id)
    assert (found.status, found.reason) == (Status.UNKNOWN, "in_doubt_held")
    assert house.worker.wait_seconds(reset_id) > 3000
    assert not house.mail.messages


def accept(services, user_id):
    """What a call does once it is known who calls."""
    user, organisation = services.directory.find_user(user_id), services.callers.find_organisation
    record_reset(
        services,
        ResetRequest(
            user=user,
            organisation=organisation("acme"),
            channel=Channel.EMAIL,
            reset_id=services.digests.new_reset_id(user_id),
            has_user_limits=False,
        ),
    )


@pytest.mark.real_server
def test_a_sender_of_its_own_costs_neither_record_nor_delivery_a_command(real_client, stub):
    """An organisation is read once in two seconds, whoever carries: its hash and its profile."""
    house = House(real_client, stub)
    counted = []
    own = {"email": FROM | {"sendgrid": SENDGRID}, "sms": {"twilio": TWILIO}}
    for user_id, body in ((a_user(house.services, "bob"), {}), (a_user(house.services, "cy"), own)):
        save_sender(house.services, body)
        accept(house.services, "ada")
        house.deliver()  # scripts are loaded once
        house.delivery.router.find_profile.cache.clear()
        real_client.config_resetstat()
        accept(house.services, user_id)
        for channel in Channel:
            house.deliver(user_id, channel=channel)
        stats = real_client.info("commandstats")
        counted.append({name: stat["calls"] for name, stat in stats.items()})

    close_all(house)
    assert counted[0] == counted[1]
    assert len(stub.requests) == 2


def test_an_own_provider_can_be_paused(house, stub):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID, "fallback": True}})
    house.services.pauses.pause(Scope.PROVIDER, OWN_MAIL, by="eve", reason="a test")

    reset_id = house.deliver()

    assert house.carriers(reset_id) == ["ours"]


def test_counters_know_all_own_providers_as_one(house, stub):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID, "fallback": True}})
    house.deliver()
    stub.outage = Answer(401)
    house.again(house.deliver())

    totals = house.services.counters.totals()

    assert totals["p:org:accepted:n"] == 1
    assert totals["p:org:account:n"] == 1
    assert totals["sw:org:ours:account"] == 1
    assert not [name for name in totals if "acme" in name]


def test_a_refusal_by_an_own_account_suppresses_for_nobody(house, stub):
    save_sender(
        house.services,
        {"sms": {"http": a_gateway_account(f"{stub.url}/own"), "countries": ["CH"]}},
    )
    stub.answers(Answer.of_json(422, {"reason": "opt_out"}))

    reset_id = house.deliver(channel=Channel.SMS)

    user = house.services.directory.find_user("ada")
    assert house.look(reset_id).status is Status.SUPPRESSED
    assert house.services.suppressions.find(user.recipient(Channel.SMS)) is None


def test_an_account_that_hangs_holds_few_of_the_threads(fake_client, stub):
    """Of four threads one; what comes beyond waits for a moment, and others go out."""
    house = House(fake_client, stub, worker_threads=4)
    an_organisation(house.services, "beta")
    a_user(house.services, "bob", orgId="beta")
    a_user(house.services, "alan")
    save_sender(house.services, {"email": {"sendgrid": SENDGRID}})
    stub.answers(Answer(202, delay_ms=500))
    slow = threading.Thread(target=house.deliver)
    slow.start()
    wait_until(lambda: stub.requests)

    waiting, other = house.deliver("alan"), house.deliver("bob", org_id="beta")
    found = house.look(waiting)
    slow.join()
    house.again(waiting)
    close_all(house)

    assert (found.status, found.reason) == (Status.QUEUED, "provider_busy")
    assert house.look(other).status is Status.ACCEPTED
    assert house.carriers(waiting) == [OWN_MAIL]


def test_no_secret_is_logged(house, stub):
    save_sender(house.services, {"email": {"sendgrid": SENDGRID}, "sms": {"twilio": TWILIO}})
    stub.outage = Answer(401, body=OWN_KEY)

    with structlog.testing.capture_logs() as logs:
        house.deliver()
        house.deliver(channel=Channel.SMS)

    assert not [secret for secret in OWN_SECRETS if secret in json.dumps(logs, default=str)]


def test_many_of_two_organisations_go_out_each_by_its_own(house, stub):
    """In the bulk queue, in one call; the one with a gateway goes out singly."""
    for org_id, users in (("beta", ("bob", "bea")), ("gamma", ("gil",))):
        an_organisation(house.services, org_id)
        for user in users:
            a_user(house.services, user, orgId=org_id, email=f"{user}@example.com")
    a_user(house.services, "alan", email="alan@example.com")
    save_sender(house.services, {"email": FROM | {"sendgrid": SENDGRID}})
    house.settle()
    other = {"apiKey": "SG.the-key-of-the-organisation-beta"}
    save_sender(house.services, {"email": {"sendgrid": other}}, org_id="beta")
    gateway = {"http": a_gateway_account(f"{stub.url}/own")}
    save_sender(house.services, {"email": gateway}, org_id="gamma")
    of = {"ada": "acme", "alan": "acme", "bob": "beta", "bea": "beta", "gil": "gamma"}
    resets = {u: house.worker.record(u, org_id=o, queue=Queue.BULK) for u, o in of.items()}

    one = house.delivery
    many = BulkDelivery(house.services, one, a_bulk_renderer(house.services.settings))
    many.deliver(list(resets.values()))

    sent = {each.headers["authorization"]: each.json for each in stub.requests}
    assert {key: len(mail["personalizations"]) for key, mail in sent.items()} == {
        f"Bearer {OWN_KEY}": 2,
        f"Bearer {other['apiKey']}": 2,
    }
    assert sent[f"Bearer {OWN_KEY}"]["from"]["email"] == "help@acme.example"
    assert sent[f"Bearer {other['apiKey']}"]["from"]["email"] != "help@acme.example"
    assert house.carriers(resets["bea"]) == ["org:beta:sendgrid"]
    assert house.look(resets["gil"]).reason == "goes_alone"
    house.delivery.deliver(resets["gil"])
    assert house.carriers(resets["gil"]) == ["org:gamma:http-email"]


# What is kept of them.


@pytest.fixture
def own(fake_client):
    services = some_services(fake_client, webhook_allow_private=True)
    an_organisation(services)
    return services, OwnProviders(services.settings, services.senders)


def built(own, org_id="acme", channel=Channel.EMAIL):
    services, providers = own
    return providers.of(org_id, channel, services.senders.find(org_id).routes[channel])


def test_providers_are_built_once_while_nothing_changes(own):
    services, _ = own
    save_sender(services, {"email": {"sendgrid": SENDGRID}})

    first, same = built(own), built(own)
    save_sender(services, {"email": {"sendgrid": {"apiKey": "SG.another-key-of-the-acme"}}})
    other = built(own)

    assert first[0] is same[0] is not other[0]
    assert other[0]._headers["Authorization"] == "Bearer SG.another-key-of-the-acme"


def test_an_organisation_of_a_removed_ones_id_does_not_send_by_its_account(own):
    services, _ = own
    save_sender(services, {"email": {"sendgrid": SENDGRID}})
    built(own)

    services.callers.remove_organisation("acme")
    an_organisation(services)
    save_sender(services, {"email": {"sendgrid": {"apiKey": "SG.the-key-of-the-new-acme"}}})

    assert built(own)[0]._headers["Authorization"] == "Bearer SG.the-key-of-the-new-acme"


def test_few_are_kept_and_not_for_long(own, monkeypatch):
    services, _ = own
    monkeypatch.setattr("shared.organisations.providers.MAX_BUILT", 2)
    monkeypatch.setattr("shared.organisations.providers.KEEP_SECONDS", 0.2)
    providers = OwnProviders(services.settings, services.senders)
    kept = []
    for org_id in ("a", "b", "c"):
        an_organisation(services, org_id)
        save_sender(services, {"email": {"sendgrid": SENDGRID}}, org_id=org_id)
        kept.append(weakref.ref(built((services, providers), org_id)[0]))

    assert [each() is None for each in kept] == [True, False, False]
    time.sleep(0.25)
    built((services, providers), "a")
    assert [each() is None for each in kept] == [True, True, True]
