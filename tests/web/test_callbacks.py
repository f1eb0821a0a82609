"""POST /callbacks/…: signed by the official packages, tampered with, repeated, too large."""

from __future__ import annotations

import json
import time
from hashlib import sha256

import pytest
from twilio.request_validator import RequestValidator

from shared.errors import StoreUnavailableError
from shared.models import Outcome, Queue, Status
from shared.providers.registry import READERS
from shared.providers.transport.signing import signed_headers
from shared.queue import Task
from shared.settings import Gateway, TwilioAccount
from shared.store import keys
from shared.store.resets import Finish
from tests.support.builders import PUBLIC_URL
from tests.support.callback_builders import (
    TWILIO_SID,
    TWILIO_TOKEN,
    SendGridKey,
    a_body,
    a_mail_event,
    a_status,
    form_body,
    twilio_headers,
    twilio_query,
)
from tests.support.wire import Wire, problem

KEY = SendGridKey()
MAIL, SMS = "/callbacks/sendgrid", "/callbacks/twilio"


class CallbackWire(Wire):
    """A wire on which providers call back."""

    def mail(self, body: bytes, **headers: str):
        return self.call(MAIL, data=body, headers=KEY.headers(body) | headers)

    def sms(self, reset_id: str, form: dict[str, str], **headers: str):
        query = twilio_query(reset_id)
        signed = twilio_headers(query, form) | headers
        return self.call(f"{SMS}?{query}", data=form_body(form), headers=signed)

    def an_accepted(self, body: object = b"") -> str:
        """A reset that a provider took."""
        reset_id = self.reset(body=body).headers["Keyturn-Reset-Id"]
        self.hints.close()
        resets = self.services.resets
        claim = resets.claim(reset_id)
        resets.mark_sending(claim, provider="sendgrid", recipient_digest="d1")
        resets.finish(
            claim,
            Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="sendgrid"),
        )
        return reset_id

    def waiting(self) -> list[str]:
        """The types of what waits to be applied."""
        receipts = self.services.receipts
        return [
            waiting.event.type.value
            for shard in receipts.shards_waiting()
            for waiting in receipts.head(shard, most=100)
        ]

    def counted(self, provider: str) -> dict[str, int]:
        prefix = f"cb:{provider}:"
        totals = self.services.counters.totals()
        return {n.removeprefix(prefix): v for n, v in totals.items() if n.startswith(prefix)}


@pytest.fixture
def wire(client):
    return CallbackWire(
        client,
        sendgrid_webhook_public_key=(KEY.public,),
        twilio_accounts=(
            TwilioAccount(account_sid=TWILIO_SID, auth_token=(TWILIO_TOKEN,)),
            TwilioAccount(provider="twilio-2", account_sid="AC2", auth_token=("another token",)),
        ),
    )


@pytest.mark.topology
def test_a_batch_of_signed_events_is_noted_once_each_and_hinted_at(wire):
    reset_id = wire.an_accepted()
    body = a_body(
        a_mail_event("delivered", reset_id),
        a_mail_event("processed", reset_id),
        a_mail_event("delivered", None),
        a_mail_event("open", reset_id),
    )

    first, again = wire.mail(body), wire.mail(body)

    assert (first.status_code, first.data) == (204, b"")
    assert again.status_code == 204
    assert wire.waiting() == ["delivered", "accepted"]
    assert [(hint.task, hint.queue) for hint in wire.hints.published] == [
        (Task.APPLY_RECEIPTS, Queue.RECEIPTS)
    ]
    assert wire.counted("sendgrid") == {"received": 2, "repeated": 2, "foreign": 2, "ignored": 2}


def test_what_waits_and_what_is_hinted_at_names_nobody(wire):
    reset_id = wire.an_accepted()
    wire.mail(a_body(a_mail_event("bounce", reset_id, reason="550 ada@example.com unknown")))
    wire.sms(reset_id, a_status("failed", ErrorMessage="+41791234567"))

    kept = [wire.redis.lrange(key, 0, -1) for key in wire.redis.scan_iter("*:receipts")]

    assert "ada@" not in str(kept)
    assert "4179" not in str(kept)
    assert {hint.about for hint in wire.hints.published} <= {str(n) for n in range(keys.SHARDS)}


def test_the_answer_has_the_headers_of_every_answer(wire):
    answer = wire.mail(a_body())

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda body, headers: (body + b" ", headers),
        lambda body, headers: (body, without(headers, "X-Twilio-Email-Event-Webhook-Signature")),
        lambda body, headers: (body, without(headers, "X-Twilio-Email-Event-Webhook-Timestamp")),
        lambda body, headers: (body, headers | {"X-Twilio-Email-Event-Webhook-Timestamp": "17"}),
        lambda body, headers: (body, SendGridKey().headers(body)),
        lambda body, headers: (body, headers | signature("no base64!")),
        lambda body, headers: (body, headers | signature("AAAA")),
        lambda body, headers: (body, headers | signature("\u00fc")),
        lambda body, headers: (b"\xff\xfe", headers),
        lambda _, headers: (b"", headers),
    ],
    ids=[
        "body",
        "no-signature",
        "no-timestamp",
        "timestamp",
        "key",
        "base64",
        "garbage",
        "umlaut",
        "bytes",
        "empty",
    ],
)
def test_what_sendgrid_did_not_sign_is_refused_and_nothing_noted(wire, tamper):
    reset_id = wire.an_accepted()
    body = a_body(a_mail_event("delivered", reset_id))
    sent, headers = tamper(body, KEY.headers(body))

    answer = wire.call(MAIL, data=sent, headers=headers)

    assert problem(answer) == (403, 7, "KEYTURN-CallbackRefused")
    assert wire.waiting() == []
    assert wire.hints.published == []
    assert wire.counted("sendgrid") == {"refused": 1}


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n != name}


def signature(value: str) -> dict[str, str]:
    return {"X-Twilio-Email-Event-Webhook-Signature": value}


@pytest.mark.parametrize("body", [b"not JSON", b"7", b'"x"', b"null", b"[1,null,[]]", b"{}"])
def test_a_genuine_body_of_no_use_is_taken_and_counted(wire, body):
    answer = wire.mail(body)

    assert answer.status_code == 204
    assert set(wire.counted("sendgrid")) <= {"unread", "foreign"}
    assert wire.counted("sendgrid")


@pytest.mark.parametrize("reset_id", ["0aaaaaaaaaaaaaaaaaaaaaaaaaa", "x", "", "a" * 500])
def test_a_genuine_report_on_a_reset_we_do_not_know_is_taken(wire, reset_id):
    answer = wire.mail(a_body(a_mail_event("delivered", reset_id)))

    assert answer.status_code == 204
    assert wire.counted("sendgrid") == {"unknown": 1}


def test_without_a_key_every_callback_is_refused(client):
    wire = CallbackWire(client)
    body = a_body(a_mail_event("delivered", wire.an_accepted()))

    mail = wire.call(MAIL, data=body, headers=KEY.headers(body))
    sms = wire.sms("0a", a_status("sent"))

    assert problem(mail) == (403, 7, "KEYTURN-CallbackRefused")
    assert problem(sms) == (403, 7, "KEYTURN-CallbackRefused")


@pytest.mark.topology
def test_a_status_of_twilio_is_noted_once(wire):
    reset_id = wire.an_accepted()

    answers = [wire.sms(reset_id, a_status(word)) for word in ("sent", "delivered", "delivered")]

    assert [answer.status_code for answer in answers] == [204, 204, 204]
    assert wire.waiting() == ["accepted", "delivered"]
    assert wire.counted("twilio") == {"received": 2, "repeated": 1}


@pytest.mark.topology
def test_a_gateway_reports_of_its_message(client):
    secret = "whsec_" + "A" * 32
    wire = CallbackWire(client, gateways=(Gateway(url="https://g.example", secret=(secret,)),))
    reset_id = wire.an_accepted()
    body = b'{"resetId":"%s","event":"delivered"}' % reset_id.encode()
    headers = signed_headers((secret,), "msg_1", int(time.time()), body)

    answers = [wire.call("/callbacks/http", data=body, headers=headers) for _ in range(2)]
    forged = wire.call("/callbacks/http", data=body + b" ", headers=headers)

    assert [each.status_code for each in (*answers, forged)] == [204, 204, 403]
    assert wire.waiting() == ["delivered"]
    assert wire.counted("http") == {"received": 1, "repeated": 1, "refused": 1}


def test_the_host_a_request_names_plays_no_part(wire):
    reset_id = wire.an_accepted()

    answer = wire.sms(reset_id, a_status("sent"), Host="evil.example", X_Forwarded_Host="evil")

    assert answer.status_code == 204


def test_a_second_account_signs_with_its_own_token(wire):
    reset_id = wire.an_accepted()
    form = a_status("sent", AccountSid="AC2")
    query = twilio_query(reset_id)

    theirs = twilio_headers(query, form, token="another token")
    ours = twilio_headers(query, form)

    assert wire.call(f"{SMS}?{query}", data=form_body(form), headers=ours).status_code == 403
    assert wire.call(f"{SMS}?{query}", data=form_body(form), headers=theirs).status_code == 204
    receipts = wire.services.receipts
    (shard,) = receipts.shards_waiting()
    assert receipts.head(shard, most=1)[0].event.provider == "twilio-2"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda query, form, headers: (query + "&x=1", form, headers),
        lambda query, form, headers: (query.replace("=", "=1"), form, headers),
        lambda query, form, headers: (query, form | {"MessageStatus": "delivered"}, headers),
        lambda query, form, headers: (query, form | {"AccountSid": "AC9"}, headers),
        lambda query, form, headers: (query, form, without(headers, "X-Twilio-Signature")),
        lambda query, form, headers: (query, form, headers | {"X-Twilio-Signature": "AAAA"}),
        lambda query, form, headers: (
            query, form, twilio_headers(query, form, base="https://evil.example"),
        ),
        lambda query, form, headers: (query, form, twilio_headers(query, form, token="guessed")),
        lambda query, form, headers: (
            query, form, headers | {"Content-Type": "application/json"},
        ),
    ],
    ids=["query", "id", "status", "account", "unsigned", "garbage", "url", "token", "content-type"],
)  # fmt: skip
def test_what_twilio_did_not_sign_is_refused_and_nothing_noted(wire, tamper):
    query, form = twilio_query(wire.an_accepted()), a_status("undelivered")
    asked, sent, headers = tamper(query, form, twilio_headers(query, form))

    answer = wire.call(f"{SMS}?{asked}", data=form_body(sent), headers=headers)

    assert problem(answer) == (403, 7, "KEYTURN-CallbackRefused")
    assert wire.waiting() == []
    assert wire.counted("twilio") == {"refused": 1}


def a_json_status(wire, reset_id, *, body_of_hash=None, **fields):
    body = json.dumps(a_status("delivered") | fields).encode()
    query = f"{twilio_query(reset_id)}&bodySHA256={sha256(body_of_hash or body).hexdigest()}"
    url = f"{PUBLIC_URL}{SMS}?{query}"
    headers = {
        "X-Twilio-Signature": RequestValidator(TWILIO_TOKEN).compute_signature(url, {}),
        "Content-Type": "application/json",
    }
    return wire.call(f"{SMS}?{query}", data=body, headers=headers)


def test_a_status_in_json_is_proved_by_its_hash(wire):
    reset_id = wire.an_accepted()

    assert a_json_status(wire, reset_id).status_code == 204
    assert a_json_status(wire, reset_id, body_of_hash=b"{}").status_code == 403
    assert wire.waiting() == ["delivered"]


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b"\xff", b"MessageSid=SM1"])
def test_json_of_another_shape_is_refused(wire, body):
    query = f"{twilio_query('0a')}&bodySHA256={sha256(body).hexdigest()}"
    signed = RequestValidator(TWILIO_TOKEN).compute_signature(f"{PUBLIC_URL}{SMS}?{query}", {})
    headers = {"X-Twilio-Signature": signed, "Content-Type": "application/json"}

    answer = wire.call(f"{SMS}?{query}", data=body, headers=headers)

    assert answer.status_code == 403


def test_a_form_of_a_million_fields_is_not_even_read(wire):
    body = b"a&" * 400_000
    headers = {"X-Twilio-Signature": "AAAA", "Content-Type": "application/x-www-form-urlencoded"}

    answer = wire.call(f"{SMS}?resetId=0a", data=body, headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize("path", [MAIL, SMS])
def test_a_body_over_a_mebibyte_is_refused(wire, path):
    body = b"[" + b" " * 1024 * 1024 + b"]"

    answer = wire.call(path, data=body, headers=KEY.headers(body))

    assert problem(answer)[:2] == (413, 8)
    assert "1 MiB" in answer.get_json()["message"]


def test_a_body_of_a_mebibyte_is_taken(wire):
    events = [a_mail_event("delivered", "0unknown", response="x" * 400) for _ in range(1500)]
    body = a_body(*events)
    assert len(body) > 64 * 1024

    assert wire.mail(body).status_code == 204
    assert wire.counted("sendgrid") == {"unknown": 1500}


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/", "/callbacks/smtp", "/callbacks/x/y"])
def test_nobody_else_calls_back(wire, path):
    assert problem(wire.call(path)) == (404, 5, None)


def test_a_callback_is_posted(wire):
    assert problem(wire.call(MAIL, method="GET")) == (405, 12, None)


class BrokenReceipts:
    """A store that cannot be written."""

    def receive(self, *_):
        raise StoreUnavailableError

    def count(self, *_):
        raise StoreUnavailableError


def test_a_store_that_cannot_be_written_asks_for_it_again(wire):
    reset_id = wire.an_accepted()
    object.__setattr__(wire.app.extensions["keyturn"], "receipts", BrokenReceipts())

    mail = wire.mail(a_body(a_mail_event("delivered", reset_id)))
    sms = wire.sms(reset_id, a_status("delivered"))
    forged = wire.call(MAIL, data=b"[]")

    assert problem(mail) == (503, 14, "KEYTURN-Unavailable")
    assert problem(sms) == (503, 14, "KEYTURN-Unavailable")
    assert problem(forged) == (403, 7, "KEYTURN-CallbackRefused")


def test_a_refusal_is_told_in_the_language_asked_for(wire):
    answer = wire.call(MAIL, data=b"[]", headers={"Accept-Language": "de"})

    assert "Unterschrift" in answer.get_json()["message"]


def test_every_callback_route_has_a_reader(wire):
    routes = {r.rule for r in wire.app.url_map.iter_rules() if r.rule.startswith("/callbacks/")}

    assert routes == {f"/callbacks/{name}{own}" for name in READERS for own in ("", "/<org_id>")}


def test_what_came_is_told_by_metrics(wire):
    wire.mail(a_body(a_mail_event("delivered", wire.an_accepted())))
    wire.call(MAIL, data=b"[]")

    text = wire.call("/metrics", method="GET").get_data(as_text=True)

    assert 'keyturn_callbacks_total{outcome="received",provider="sendgrid"} 1.0' in text
    assert 'keyturn_callbacks_total{outcome="refused",provider="sendgrid"} 1.0' in text
    assert 'keyturn_callback_last_seconds{provider="sendgrid"} 1.' in text
