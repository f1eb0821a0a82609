"""HTTP gateways: what they are told, what they say, the report that comes back, the example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest
from standardwebhooks import Webhook

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    RouteUnfitError,
    TransientProviderError,
)
from shared.models import Channel, Receipt, Status
from shared.providers.callbacks import Callback, CallbackForgedError
from shared.providers.http import REASONS, STATUSES, HttpProvider
from shared.providers.http_webhook import EVENTS, HttpWebhook
from shared.providers.registry import PROVIDERS
from shared.providers.transport.signing import signed_headers
from shared.settings import Gateway
from shared.webhooks import is_public
from tests import CHECKOUT
from tests.journeys.stack import free_ports
from tests.support.delivery_services import some_delivery_services
from tests.support.provider_builders import (
    ADDRESS,
    AMPLE_SECONDS,
    CODE,
    GATEWAY_SECRET,
    NUMBER,
    a_mail,
    an_sms,
    outcome_of,
    some_settings,
)
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.waiting import wait_until

OTHER_SECRET = "whsec_" + "b3RoZXI" * 5 + "A"
RESET = "0abc"
NOW = 1_800_000_000  # of the reports and of who reads them


@pytest.fixture
def stub():
    with ProviderStub() as running:
        yield running


@pytest.fixture
def a_gateway():
    """A function that builds the provider of a gateway at the stub."""
    with ExitStack() as built:

        def build(stub, channel=Channel.SMS, *, may_reach=None, **fields):
            gateway = Gateway(url=f"{stub.url}/send", secret=(GATEWAY_SECRET,))
            provider = HttpProvider(
                channel,
                replace(gateway, **fields),
                timeout_seconds=AMPLE_SECONDS,
                may_reach=may_reach,
            )
            built.callback(provider.close)
            return provider

        yield build


def test_a_gateway_is_told_everything_about_an_sms(a_gateway, stub):
    receipt = a_gateway(stub).send(an_sms(language="fr"))

    (call,) = [each["call"] for each in stub.taken]
    assert receipt == Receipt(stub.taken[0]["id"])
    assert stub.requests[0].path == "/send"
    assert call == {
        "channel": "sms",
        "recipient": NUMBER,
        "language": "fr",
        "subject": None,
        "text": f"{CODE} is your code",
        "html": None,
        "code": CODE,
        "link": f"https://reset.example.com/r/7c0ffee/{CODE}",
        "deadline": "2026-11-23T15:05:00Z",
        "resetId": "7c0ffee0123456789",
        "orgId": "o1",
        "senderName": "Analytical Engines",
    }


def test_a_gateway_is_told_everything_about_a_mail(a_gateway, stub):
    a_gateway(stub, Channel.EMAIL).send(a_mail())

    call, mail = stub.taken[0]["call"], a_mail()
    assert (call["channel"], call["recipient"]) == ("email", ADDRESS)
    assert (call["subject"], call["text"], call["html"]) == (mail.subject, mail.text, mail.html)
    assert (call["senderAddress"], call["senderName"]) == (mail.from_address, mail.from_name)
    assert call["messageId"] == mail.message_id


def test_a_mail_without_a_code_has_none_in_the_call(a_gateway, stub):
    a_gateway(stub, Channel.EMAIL).send(a_mail(code="", link="", deadline_at=None))

    call = stub.taken[0]["call"]
    assert (call["code"], call["link"], call["deadline"]) == (None, None, None)


def test_every_secret_signs_and_the_official_package_verifies(a_gateway, stub):
    a_gateway(stub, secret=(OTHER_SECRET, GATEWAY_SECRET)).send(an_sms())

    (request,) = stub.requests
    for secret in (OTHER_SECRET, GATEWAY_SECRET):
        assert Webhook(secret).verify(request.body, request.headers)["recipient"] == NUMBER


def test_every_attempt_of_a_message_has_one_id_and_another_message_another(a_gateway, stub):
    gateway = a_gateway(stub)
    for message in (an_sms(), an_sms(), an_sms(reset_id="7other")):
        gateway.send(message)

    first, second, other = (each.headers["webhook-id"] for each in stub.requests)
    assert first == second != other


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        ('{"id": "abc"}', "abc"),
        ("", None),
        ("[]", None),
        ('{"id": 7}', None),
        ('{"id": "a\\nb"}', None),
        ("{", None),
    ],
)
def test_any_2xx_is_taken_whatever_its_body(a_gateway, stub, body, message_id):
    stub.answers(Answer(204 if not body else 201, body=body))

    assert a_gateway(stub).send(an_sms()) == Receipt(message_id)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, AccountProviderError),
        (400, PermanentProviderError),
        (401, AccountProviderError),
        (402, AccountProviderError),
        (403, AccountProviderError),
        (404, AccountProviderError),
        (405, AccountProviderError),
        (408, TransientProviderError),
        (409, TransientProviderError),
        (410, PermanentProviderError),
        (413, RouteUnfitError),
        (415, AccountProviderError),
        (422, PermanentProviderError),
        (429, TransientProviderError),
        (500, TransientProviderError),
        (501, DoubtfulProviderError),
        (502, DoubtfulProviderError),
        (503, TransientProviderError),
        (504, DoubtfulProviderError),
    ],
)
def test_what_a_status_means(a_gateway, stub, status, error):
    stub.answers(Answer(status, {"Retry-After": "7", "Location": "/"}))

    found, _ = outcome_of(lambda: a_gateway(stub).send(an_sms()))

    assert type(found) is error
    assert found.reason == f"http_{status}"
    if error is TransientProviderError:
        assert found.retry_after_seconds == 7


def test_every_status_of_the_table_is_tried():
    assert set(STATUSES) <= {302, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429,
                             500, 502, 503, 504}  # fmt: skip


@pytest.mark.parametrize("word", REASONS)
def test_a_reason_counts_before_the_status(a_gateway, stub, word):
    stub.answers(Answer.of_json(429, {"reason": word, "text": ADDRESS}))

    found, _ = outcome_of(lambda: a_gateway(stub).send(an_sms()))

    assert type(found) is type(REASONS[word].error(""))
    assert (found.reason, found.detail) == (f"http_{word}", REASONS[word].detail)
    assert getattr(found, "suppression", None) == REASONS[word].suppression


@pytest.mark.parametrize("reason", ["ada@example.com", "", None, 7, ["opt_out"], {"a": 1}])
def test_a_reason_of_their_own_is_not_kept(a_gateway, stub, reason):
    stub.answers(Answer.of_json(422, {"reason": reason}))

    found, _ = outcome_of(lambda: a_gateway(stub).send(an_sms()))

    assert (type(found), found.reason) == (PermanentProviderError, "http_422")


def test_a_gateway_at_a_private_address_is_not_called_where_that_is_ruled_out(a_gateway, stub):
    found, _ = outcome_of(lambda: a_gateway(stub, may_reach=is_public).send(an_sms()))

    assert isinstance(found, TransientProviderError)
    assert not stub.requests


def test_a_second_company_carries_sms_while_twilio_has_trouble(fake_client, stub):
    settings = some_settings(twilio_api_url=stub.url, http_url=f"{stub.url}/send")
    twilio, http = (PROVIDERS[Channel.SMS, name](settings) for name in ("twilio", "http"))
    services = some_delivery_services(fake_client, twilio, http)
    reset_id = services.record(channel=Channel.SMS)
    stub.answers(Answer.of_json(401, {"code": 20003}))

    services.deliver(reset_id)
    services.again(reset_id)

    assert services.carriers(reset_id) == ["twilio", "http"]
    assert services.look(reset_id).status is Status.ACCEPTED
    (taken,) = stub.taken
    assert taken["provider"] == "http"
    assert taken["call"]["code"] in taken["call"]["text"]
    assert taken["call"]["resetId"] == taken["webhookId"] == reset_id
    twilio.close()
    http.close()


# Reports.


def a_report(secret=GATEWAY_SECRET, *, at=None, webhook_id="msg_1", body=None, **fields):
    content = {"resetId": RESET, "event": "delivered", "id": "gw-1"} | fields
    body = json.dumps(content).encode() if body is None else body
    at = NOW if at is None else at
    headers = signed_headers((secret,), webhook_id, at, body)
    return Callback({n.lower(): v for n, v in headers.items()}, "", body)


@pytest.fixture
def reader():
    return HttpWebhook(some_settings(), clock=lambda: NOW)


@pytest.mark.parametrize(
    ("event", "reason", "status", "noted", "suppression"),
    [
        ("accepted", None, Status.ACCEPTED, "", ""),
        ("deferred", None, Status.ACCEPTED, "http_deferred", ""),
        ("delivered", "bounce", Status.DELIVERED, "", ""),
        ("undelivered", None, Status.UNDELIVERED, "http_undelivered", ""),
        ("undelivered", "bad_number", Status.UNDELIVERED, "http_bad_number", "bad_number"),
        ("undelivered", ADDRESS, Status.UNDELIVERED, "http_undelivered", ""),
        ("failed", "opt_out", Status.SUPPRESSED, "http_opt_out", "opt_out"),
        ("failed", ["bounce"], Status.FAILED, "http_failed", ""),
        ("complained", None, None, "http_complaint", "complaint"),
        ("opted_out", None, None, "http_opt_out", "opt_out"),
    ],
)
def test_what_a_report_means(reader, event, reason, status, noted, suppression):
    (read,) = reader.read(a_report(event=event, reason=reason)).events

    assert (read.status, read.reason, read.suppression) == (status, noted, suppression)
    assert (read.reset_id, read.provider, read.event_id) == (RESET, "http", "msg_1")
    assert read.message_id == "gw-1"


def test_every_event_is_tried():
    assert set(EVENTS) == {
        "accepted", "deferred", "delivered", "undelivered", "failed", "complained", "opted_out",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("report", "skipped"),
    [
        (a_report(event="sung"), "unread"),
        (a_report(event=None), "unread"),
        (a_report(event=["delivered"]), "unread"),
        (a_report(resetId=None), "foreign"),
        (a_report(resetId=""), "foreign"),
        (a_report(body=b"{"), "unread"),
        (a_report(body=b"[]"), "unread"),
        (a_report(body=b"\xff"), "unread"),
    ],
)
def test_what_is_no_report_of_ours_is_counted(reader, report, skipped):
    assert dict(reader.read(report).skipped) == {skipped: 1}


def without(name):
    report = a_report()
    return replace(report, headers={n: v for n, v in report.headers.items() if n != name})


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (a_report(OTHER_SECRET), "signature"),
        (replace(a_report(), body=b"{}"), "signature"),
        (without("webhook-id"), "unsigned"),
        (without("webhook-timestamp"), "unsigned"),
        (without("webhook-signature"), "unsigned"),
        (a_report(at=NOW - 4000), "timestamp"),
        (a_report(at=NOW + 4000), "timestamp"),
        (replace(a_report(), headers=a_report().headers | {"webhook-timestamp": "9" * 30}),
         "timestamp"),
        (replace(a_report(), headers=a_report().headers | {"webhook-timestamp": "²"}), "unsigned"),
        (replace(a_report(), headers=a_report().headers | {"webhook-signature": "v1,é v2"}),
         "signature"),
    ],
)  # fmt: skip
def test_a_forged_report_is_refused(reader, report, reason):
    with pytest.raises(CallbackForgedError) as caught:
        reader.read(report)

    assert caught.value.reason == reason


def test_without_a_gateway_every_report_is_refused():
    with pytest.raises(CallbackForgedError, match="no_key"):
        HttpWebhook(replace(some_settings(), gateways=()), clock=lambda: NOW).read(a_report())


def test_any_secret_verifies_and_tells_which_gateway_reported():
    gateways = (
        Gateway(url="https://a.example", secret=(OTHER_SECRET,)),
        Gateway(provider="http-2", url="https://b.example", secret=("whsec_" + "A" * 32,
                                                                   GATEWAY_SECRET)),
    )  # fmt: skip
    reader = HttpWebhook(replace(some_settings(), gateways=gateways), clock=lambda: NOW)
    report = a_report()
    both = f"v1,{'A' * 44} {report.headers['webhook-signature']}"

    (read,) = reader.read(
        replace(report, headers=report.headers | {"webhook-signature": both})
    ).events

    assert read.provider == "http-2"


# The example of docs/gateways.md.


def test_the_example_of_the_manual_carries_an_sms(tmp_path, stub):
    (example,) = re.findall(
        r"```python\n(.*?)```", (CHECKOUT / "docs" / "gateways.md").read_text(), re.DOTALL
    )
    (tmp_path / "gateway.py").write_text(example)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "gateway", "run", "--port", str(port)],
        cwd=tmp_path,
        env=os.environ | {"GATEWAY_SECRET": GATEWAY_SECRET, "CARRIER_URL": f"{stub.url}/carrier",
                          "NO_PROXY": "*"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    stub.answers(Answer.of_json(200, {"id": "carrier-1"}), Answer(400), Answer(500))
    gateway = Gateway(url=f"http://127.0.0.1:{port}/send", secret=(GATEWAY_SECRET,))
    provider = HttpProvider(Channel.SMS, gateway, timeout_seconds=AMPLE_SECONDS)
    forger = HttpProvider(
        Channel.SMS, replace(gateway, secret=(OTHER_SECRET,)), timeout_seconds=AMPLE_SECONDS
    )
    try:
        wait_until(
            lambda: outcome_of(lambda: forger.send(an_sms()))[0].reason == "http_401",
            what="the example's start",
        )
        assert provider.send(an_sms()) == provider.send(an_sms()) == Receipt("carrier-1")
        refused, _ = outcome_of(lambda: provider.send(an_sms(reset_id="7refused")))
        broken, _ = outcome_of(lambda: provider.send(an_sms(reset_id="7broken")))
        mail, _ = outcome_of(lambda: provider.send(a_mail(reset_id="7mail")))
    finally:
        provider.close()
        forger.close()
        process.terminate()
        process.wait()

    carried = [json.loads(each.body) for each in stub.requests]
    assert carried[0] == {"to": NUMBER, "text": an_sms().body}
    assert len(carried) == 3, "a second call of the same message is answered, not carried"
    assert (refused.reason, broken.reason, mail.reason) == ("http_422", "http_503", "http_no_route")
