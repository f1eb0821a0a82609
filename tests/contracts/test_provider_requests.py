"""Our requests, judged by the providers' own descriptions and by schemas of our own."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_core import Config, OpenAPI
from openapi_core.contrib.werkzeug import WerkzeugOpenAPIRequest
from openapi_core.exceptions import OpenAPIError
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from shared.models import Channel
from shared.providers.registry import PROVIDERS
from shared.providers.sendgrid import build_payload
from tests.support.provider_builders import (
    ACCOUNT_SID,
    API_KEY,
    LOGO,
    a_mail,
    an_sms,
    some_settings,
)
from tests.support.provider_stub import ProviderStub

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
USUAL_CONTRACTS = ROOT / "../shared/contracts"
SENDGRID, TWILIO = "sendgrid_mail_send_v3.json", "twilio_messages_2010.json"
SERVICE_SID = "MG" + "0123456789abcdef" * 2


def official(name, base_url):
    """A provider's own description, moved to where the stub listens."""
    path = Path(os.environ.get("KEYTURN_CONTRACTS_DIR", USUAL_CONTRACTS)).resolve() / name
    if not path.exists():
        pytest.skip(f"{name} is not here: set KEYTURN_CONTRACTS_DIR to the folder that has it")
    document = json.loads(path.read_text())
    document["servers"] = [{"url": base_url}]
    for item in document["paths"].values():
        item.pop("servers", None)
    return OpenAPI.from_dict(document, config=Config(spec_base_uri=path.as_uri()))


def as_werkzeug(request, base_url):
    builder = EnvironBuilder(
        path=request.target,
        base_url=base_url,
        method=request.method,
        headers=request.headers,
        data=request.body,
    )
    return WerkzeugOpenAPIRequest(WerkzeugRequest(builder.get_environ()))


def complaints(schema_name, content):
    schema = json.loads((HERE / schema_name).read_text())
    return [error.message for error in Draft202012Validator(schema).iter_errors(content)]


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def sendgrid(stub):
    provider = PROVIDERS[Channel.EMAIL, "sendgrid"](some_settings(sendgrid_api_url=stub.url))
    yield provider
    provider.close()


@pytest.fixture
def twilio_with(stub):
    made = []

    def make(**settings):
        made.append(
            PROVIDERS[Channel.SMS, "twilio"](some_settings(twilio_api_url=stub.url, **settings))
        )
        return made[-1]

    yield make
    for provider in made:
        provider.close()


@pytest.mark.parametrize("mail", [a_mail(), a_mail(reply_to="help@acme.example", logo=LOGO)])
def test_sendgrid_itself_would_understand_the_mail(stub, sendgrid, mail):
    sendgrid.send(mail)

    official(SENDGRID, stub.url).validate_request(as_werkzeug(stub.requests[0], stub.url))


def test_a_mail_brings_its_logo_and_where_replies_go(stub, sendgrid):
    sendgrid.send(a_mail(reply_to="help@bücher.example", logo=LOGO, feedback_id="a:b:c:keyturn"))

    sent = stub.requests[0].json
    assert sent["reply_to"] == {"email": "help@xn--bcher-kva.example"}
    (attachment,) = sent["attachments"]
    assert base64.b64decode(attachment["content"]) == LOGO.content
    assert f"cid:{attachment['content_id']}" == LOGO.url
    assert sent["headers"]["Feedback-ID"] == "a:b:c:keyturn"
    assert "List-Unsubscribe" not in sent["headers"]


def test_no_address_for_replies_no_logo_no_feedback_id_unless_given(stub, sendgrid):
    sendgrid.send(a_mail())

    sent = stub.requests[0].json
    assert not {"reply_to", "attachments"} & set(sent)
    assert "Feedback-ID" not in sent["headers"]


@pytest.mark.parametrize(
    "mail",
    [
        a_mail(),
        a_mail(from_name=""),
        a_mail(from_name="Acme\r\nBcc: x@example.com", subject="Two\r\nlines: here"),
        a_mail("o'brien+tag@sub.example.com"),
        a_mail("jürg@bücher.example"),
        a_mail(text="x" * 20_000, html="<p>😀</p>" * 2000),
        a_mail(reply_to="help@bücher.example", logo=LOGO, feedback_id="reset:acme:email:keyturn"),
    ],
    ids=["usual", "nameless", "line-breaks", "tagged", "accents", "long", "branded"],
)
def test_our_schema_finds_nothing_wrong_with_a_mail(stub, sendgrid, mail):
    sendgrid.send(mail)

    sent = stub.requests[0]
    assert complaints("sendgrid_mail_send.schema.json", sent.json) == []
    assert sent.headers["authorization"] == f"Bearer {API_KEY}"
    assert sent.headers["content-type"] == "application/json"


def test_a_mail_says_the_same_on_every_attempt():
    assert build_payload(a_mail()) == build_payload(a_mail())


def test_our_mail_schema_sees_tracked_links():
    payload = build_payload(a_mail())
    payload["tracking_settings"]["click_tracking"]["enable_text"] = True

    assert complaints("sendgrid_mail_send.schema.json", payload) != []


SENDERS = pytest.mark.parametrize(
    "sender",
    [{"twilio_from_": "+15005550006"}, {"twilio_messaging_service_sid": SERVICE_SID}],
    ids=["number", "service"],
)


@SENDERS
def test_twilio_itself_would_understand_the_sms(stub, twilio_with, sender):
    twilio_with(**sender).send(an_sms())

    official(TWILIO, stub.url).validate_request(as_werkzeug(stub.requests[0], stub.url))


@SENDERS
@pytest.mark.parametrize("sms", [an_sms(), an_sms(body="ж" * 70), an_sms(body="a\nb & c=d")])
def test_our_schema_finds_nothing_wrong_with_an_sms(stub, twilio_with, sender, sms):
    twilio_with(**sender).send(sms)

    sent = stub.requests[0]
    assert complaints("twilio_messages.schema.json", sent.form) == []
    assert sent.form["Body"] == sms.body
    assert sent.path == f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"


@pytest.mark.parametrize(("asked", "told"), [(0, "1"), (599.7, "599"), (90_000, "36000")])
def test_the_validity_stays_within_what_twilio_takes(stub, twilio_with, asked, told):
    twilio_with().send(an_sms(validity_seconds=asked))

    assert stub.requests[0].form["ValidityPeriod"] == told


def test_the_official_descriptions_do_judge(stub, sendgrid):
    sendgrid.send(a_mail())
    wrong = replace(stub.requests[0], body=b'{"personalizations": "nobody"}')

    with pytest.raises(OpenAPIError):
        official(SENDGRID, stub.url).validate_request(as_werkzeug(wrong, stub.url))


def test_twilio_itself_would_understand_the_question_for_its_list(stub, twilio_with):
    twilio_with().find(an_sms())

    official(TWILIO, stub.url).validate_request(as_werkzeug(stub.requests[0], stub.url))


def test_risk_check_and_price_are_passed_on_where_they_are_set(stub, twilio_with):
    twilio_with().send(an_sms())
    twilio_with(twilio_risk_check="disable", twilio_max_price=0.2).send(an_sms())

    plain, asked = (request.form for request in stub.requests)
    assert not {"RiskCheck", "MaxPrice"} & plain.keys()
    assert (asked["RiskCheck"], asked["MaxPrice"]) == ("disable", "0.2")
    assert complaints("twilio_messages.schema.json", asked) == []
    official(TWILIO, stub.url).validate_request(as_werkzeug(stub.requests[1], stub.url))
