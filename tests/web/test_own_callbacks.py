"""Reports of organisations' own accounts: with their own keys, of their own messages."""

from __future__ import annotations

import json
import time

import pytest
from twilio.request_validator import RequestValidator

from shared.models import Channel, Outcome, Status
from shared.organisations.sender import own_name
from shared.providers.transport.signing import signed_headers
from shared.store.resets import Finish
from tests.support.builders import PUBLIC_URL
from tests.support.callback_builders import (
    SendGridKey,
    a_body,
    a_mail_event,
    a_status,
    form_body,
    twilio_query,
)
from tests.support.provider_builders import GATEWAY_SECRET
from tests.support.sender_builders import (
    OWN_SID,
    OWN_TOKEN,
    SENDGRID,
    TWILIO,
    a_gateway_account,
    save_sender,
)
from tests.support.wire import Wire

KEY, NEXT_KEY = SendGridKey(), SendGridKey()


class OwnCallbackWire(Wire):
    """A wire on which the accounts of organisations report."""

    def an_accepted(self, provider, user_id="ada", channel=Channel.EMAIL):
        """A reset that a provider took."""
        kind = {"type": "TYPE_SMS"} if channel is Channel.SMS else b""
        reset_id = self.reset(user_id, body=kind).headers["Keyturn-Reset-Id"]
        resets = self.services.resets
        claim = resets.claim(reset_id)
        resets.mark_sending(claim, provider=provider, recipient_digest="d1")
        resets.finish(
            claim, Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider=provider)
        )
        return reset_id

    def mail(self, reset_id, key=KEY, org_id="acme", event="bounce"):
        body = a_body(a_mail_event(event, reset_id, type="bounce"))
        return self.call(
            f"/callbacks/sendgrid/{org_id}", data=body, headers=key.headers(body)
        ).status_code

    def sms(self, reset_id, token=OWN_TOKEN, path="/callbacks/twilio/acme", signed=None):
        form, query = a_status("delivered", AccountSid=OWN_SID), twilio_query(reset_id)
        url = f"{PUBLIC_URL}{signed or path}?{query}"
        signature = RequestValidator(token).compute_signature(url, form)
        headers = {
            "X-Twilio-Signature": signature,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.call(f"{path}?{query}", data=form_body(form), headers=headers).status_code

    def waiting(self):
        """Provider and type of what waits to be applied."""
        receipts = self.services.receipts
        return [
            (each.event.provider, each.event.type.value)
            for shard in receipts.shards_waiting()
            for each in receipts.head(shard, most=100)
        ]

    def counted(self):
        totals = self.services.counters.totals()
        return {n: v for n, v in totals.items() if n.startswith("cb:")}


@pytest.fixture
def wire(fake_client):
    wire = OwnCallbackWire(fake_client)
    save_sender(
        wire.services,
        {
            "email": {"sendgrid": SENDGRID | {"webhookPublicKey": KEY.public}},
            "sms": {"twilio": TWILIO, "http": a_gateway_account()},
        },
    )
    return wire


def test_its_sendgrid_reports_with_its_own_key(wire):
    name = own_name("acme", Channel.EMAIL, "sendgrid")
    reset_id = wire.an_accepted(name)

    assert wire.mail(reset_id) == 204
    assert wire.waiting() == [(name, "undelivered")]
    assert wire.counted() == {"cb:org:received": 1}


def test_its_twilio_reports_to_the_path_it_was_given(wire):
    name = own_name("acme", Channel.SMS, "twilio")
    reset_id = wire.an_accepted(name, channel=Channel.SMS)

    assert wire.sms(reset_id, signed="/callbacks/twilio") == 403
    assert wire.sms(reset_id, token="another") == 403
    assert wire.sms(reset_id, path="/callbacks/twilio") == 403
    assert wire.sms(reset_id) == 204
    assert wire.waiting() == [(name, "delivered")]


def test_its_gateway_reports_with_its_own_secret(wire):
    name = own_name("acme", Channel.SMS, "http")
    reset_id = wire.an_accepted(name, channel=Channel.SMS)
    body = json.dumps({"resetId": reset_id, "event": "delivered"}).encode()
    headers = signed_headers((GATEWAY_SECRET,), "msg_1", int(time.time()), body)

    answers = [
        wire.call(path, data=body, headers=headers).status_code
        for path in ("/callbacks/http", "/callbacks/http/beta", "/callbacks/http/acme")
    ]

    assert answers == [403, 403, 204]
    assert wire.waiting() == [(name, "delivered")]


def test_one_gateway_for_mail_and_sms_reports_of_both(wire):
    save_sender(
        wire.services,
        {"email": {"http": a_gateway_account()}, "sms": {"countries": ["CH"],
         "http": a_gateway_account()}},
    )  # fmt: skip
    names = {channel: own_name("acme", channel, "http") for channel in Channel}
    for channel, name in names.items():
        reset_id = wire.an_accepted(name, channel=channel)
        body = json.dumps({"resetId": reset_id, "event": "delivered"}).encode()
        headers = signed_headers((GATEWAY_SECRET,), f"msg_{channel}", int(time.time()), body)
        assert wire.call("/callbacks/http/acme", data=body, headers=headers).status_code == 204

    assert sorted(wire.waiting()) == sorted((name, "delivered") for name in names.values())


def test_both_keys_verify_while_one_follows_the_other(wire):
    name = own_name("acme", Channel.EMAIL, "sendgrid")
    reset_id = wire.an_accepted(name)
    assert wire.mail(reset_id, NEXT_KEY) == 403

    save_sender(wire.services, {"email": {"sendgrid": {"webhookPublicKey": NEXT_KEY.public}}})
    assert [wire.mail(reset_id, key) for key in (KEY, NEXT_KEY)] == [204, 204]

    save_sender(wire.services, {"email": {"sendgrid": {"webhookPublicKey": [NEXT_KEY.public]}}})
    assert [wire.mail(reset_id, key) for key in (KEY, NEXT_KEY)] == [403, 204]


def test_it_reports_of_nothing_that_another_account_carried(wire):
    ours = wire.an_accepted("sendgrid")

    assert wire.mail(ours) == 204
    assert wire.mail("0nosuchreset") == 204
    assert wire.waiting() == []
    assert wire.counted() == {"cb:org:foreign": 2}


@pytest.mark.parametrize("org_id", ["beta", "nowhere", "a%2Fb", "%00"])
def test_without_such_an_account_a_report_is_refused(wire, org_id):
    assert wire.mail(wire.an_accepted("sendgrid"), org_id=org_id) in (403, 404)
    assert wire.waiting() == []
    assert set(wire.counted()) <= {"cb:org:refused"}
