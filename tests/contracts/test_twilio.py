"""Twilio's numbers, its login and its list."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    RouteUnfitError,
    SettingsError,
    TransientProviderError,
)
from shared.models import Channel, Outcome, Receipt
from shared.providers.registry import build_providers
from shared.providers.twilio import CODES, Twilio, failure_of
from tests.support.provider_builders import (
    ACCOUNT_SID,
    AMPLE_SECONDS,
    AUTH_TOKEN,
    SECOND_ACCOUNT_SID,
    TIMEOUT_SECONDS,
    an_sms,
    some_settings,
)
from tests.support.provider_stub import Answer, ProviderStub

T, A, P, D = (
    TransientProviderError,
    AccountProviderError,
    PermanentProviderError,
    DoubtfulProviderError,
)


def a_twilio(stub, *, timeout_seconds=AMPLE_SECONDS, clock=time.time, **account):
    usual = some_settings(twilio_api_url=stub.url).twilio_account("twilio")
    return Twilio(replace(usual, **account), timeout_seconds=timeout_seconds, clock=clock)


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def twilio(stub):
    provider = a_twilio(stub)
    yield provider
    provider.close()


@pytest.fixture
def hasty_twilio(stub):
    provider = a_twilio(stub, timeout_seconds=TIMEOUT_SECONDS)
    yield provider
    provider.close()


@pytest.mark.parametrize(
    ("status", "code", "expected", "reason", "suppression"),
    [
        (401, 20003, A, "twilio_20003", None),
        (403, 20005, A, "twilio_20005", None),
        (429, 20429, T, "twilio_20429", None),
        (400, 21211, P, "twilio_21211", "bad_number"),
        (400, 21614, P, "twilio_21614", "bad_number"),
        (400, 21408, RouteUnfitError, "twilio_21408", None),
        (400, 21606, A, "twilio_21606", None),
        (400, 21610, P, "twilio_21610", "opt_out"),
        (400, 21611, T, "twilio_21611", None),
        (400, 21617, P, "twilio_21617", None),
        (503, 20503, T, "twilio_20503", None),
        (400, 99999, P, "http_400", None),
        (400, "21211; drop", P, "http_400", None),
        (401, None, A, "http_401", None),
        (404, None, A, "http_404", None),
        (418, None, T, "http_418", None),
        (429, None, T, "http_429", None),
        (302, None, A, "http_302", None),
        (500, None, T, "http_500", None),
        (502, None, D, "http_502", None),
        (504, None, D, "http_504", None),
        (529, None, D, "http_529", None),
    ],
)
def test_a_no_of_twilio_means(stub, twilio, status, code, expected, reason, suppression):
    stub.answers(Answer.of_json(status, {"code": code, "message": "to +41791234567"}))

    with pytest.raises(expected) as caught:
        twilio.send(an_sms())

    assert type(caught.value) is expected
    assert caught.value.reason == reason
    assert getattr(caught.value, "suppression", None) == suppression


def test_a_wish_to_wait_is_handed_on(stub, twilio):
    stub.answers(Answer(429, {"Retry-After": "7"}, json.dumps({"code": 20429})))

    with pytest.raises(TransientProviderError) as caught:
        twilio.send(an_sms())

    assert caught.value.retry_after_seconds == 7


def test_a_failure_after_a_long_wait_is_doubt():
    assert failure_of(500, 20500, waited_seconds=0.1)[1].outcome is Outcome.TRANSIENT
    assert failure_of(500, 20500, waited_seconds=8)[1].outcome is Outcome.DOUBT
    assert failure_of(400, 21211, waited_seconds=8)[1].outcome is Outcome.PERMANENT


def test_every_suppression_is_one_we_know():
    told = {row.suppression for row in CODES.values()}

    assert told == {None, "bad_number", "opt_out"}


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"sid": 5}', '{"sid": ""}', "<html>", "nul"])
def test_a_yes_that_names_no_message_is_doubt(stub, twilio, body):
    stub.answers(Answer(201, body=body))

    with pytest.raises(DoubtfulProviderError):
        twilio.send(an_sms())


def test_odd_facts_beside_the_id_do_no_harm(stub, twilio):
    stub.answers(Answer.of_json(201, {"sid": "SM1", "date_sent": 5, "status": [], "price": {}}))

    assert twilio.send(an_sms()) == Receipt("SM1")


@pytest.mark.parametrize(
    ("settings", "login"),
    [
        ({}, f"{ACCOUNT_SID}:{AUTH_TOKEN}"),
        ({"api_key_sid": "SK1", "api_key_secret": "s"}, "SK1:s"),
    ],
    ids=["token", "api-key"],
)
def test_the_api_key_logs_in_where_there_is_one(stub, settings, login):
    twilio = a_twilio(stub, **settings)

    twilio.send(an_sms())

    twilio.close()
    told = stub.requests[0].headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(told).decode() == login
    assert stub.requests[0].path.split("/")[3] == ACCOUNT_SID


def test_the_second_account_sends_as_itself(stub):
    settings = some_settings(sms_providers=("twilio", "twilio-2"), twilio_2_api_url=stub.url)
    _, second = build_providers(settings)[Channel.SMS]

    second.send(an_sms())

    second.close()
    assert stub.requests[0].path.split("/")[3] == SECOND_ACCOUNT_SID
    assert stub.requests[0].form["From"] == "+15005550007"


def test_an_account_that_would_bend_the_path_is_refused(stub):
    with pytest.raises(SettingsError, match="KEYTURN_TWILIO_ACCOUNT_SID"):
        a_twilio(stub, account_sid="AC1/../x")


def test_a_message_twilio_took_is_found(stub, twilio):
    stub.answers(Answer(how="cut", takes=True))
    with pytest.raises(DoubtfulProviderError):
        twilio.send(an_sms())

    receipt = twilio.find(an_sms())

    assert receipt == Receipt(stub.taken[0]["id"])


def test_only_the_very_same_text_to_the_same_number_is_found(stub, twilio):
    twilio.send(an_sms())

    assert twilio.find(an_sms(body="another text")) is None
    assert twilio.find(an_sms("+41791234568")) is None


@pytest.mark.parametrize(
    "change", [{"status": "failed"}, {"status": "canceled"}, {"direction": "inbound"}]
)
def test_a_message_that_did_not_go_out_is_not_found(stub, twilio, change):
    row = {"sid": "SM1", "body": an_sms().body, "status": "sent", "direction": "outbound-api"}
    stub.answers(Answer.of_json(200, {"messages": [row | change]}))

    assert twilio.find(an_sms()) is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(how="hang"),
        Answer(how="cut"),
        Answer(how="garbage"),
        Answer(500),
        Answer(200, body="nonsense"),
        Answer(200, body='{"messages": 5}'),
    ],
    ids=["hang", "cut", "garbage", "500", "nonsense", "shapeless"],
)
def test_a_list_that_cannot_be_read_is_asked_for_again(stub, hasty_twilio, answer):
    stub.answers(answer)

    with pytest.raises(TransientProviderError):
        hasty_twilio.find(an_sms())


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (datetime(2026, 5, 4, 12, tzinfo=UTC), {"DateSent": "2026-05-04T00:00:00Z"}),
        (datetime(2026, 5, 4, 0, 20, tzinfo=UTC), {"DateSent>": "2026-05-03T00:00:00Z"}),
    ],
    ids=["noon", "past-midnight"],
)
def test_the_list_is_asked_for_the_days_that_matter(stub, now, asked):
    twilio = a_twilio(stub, clock=now.timestamp)

    twilio.find(an_sms())

    twilio.close()
    assert stub.requests[0].query == {"To": "+41791234567", "PageSize": "100"} | asked


def test_nothing_is_repeated(stub, twilio):
    stub.answers(*[Answer(503)] * 3)

    with pytest.raises(TransientProviderError):
        twilio.send(an_sms())

    assert len(stub.requests) == 1
