"""SendGrid's statuses and what it asks for."""

from __future__ import annotations

import json

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    RouteUnfitError,
    SettingsError,
    TransientProviderError,
)
from shared.models import Receipt
from shared.providers.sendgrid import SendGrid
from tests.support.provider_builders import a_mail, some_settings
from tests.support.provider_stub import Answer, ProviderStub

T, A, P, D = (
    TransientProviderError,
    AccountProviderError,
    PermanentProviderError,
    DoubtfulProviderError,
)
NOW = 1_780_000_000.0


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def sendgrid(stub):
    provider = SendGrid(some_settings(sendgrid_api_url=stub.url), clock=lambda: NOW)
    yield provider
    provider.close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, A), (400, P), (401, A), (403, A), (404, A), (405, A), (406, A), (409, T), (415, A),
        (413, RouteUnfitError), (429, T), (451, A), (500, T), (502, D), (503, T), (504, D),
        (520, D), (600, D),
    ],
)  # fmt: skip
def test_a_status_of_sendgrid_means(stub, sendgrid, status, expected):
    stub.answers(Answer.of_json(status, {"errors": [{"message": "ada.lovelace@example.com"}]}))

    with pytest.raises(expected) as caught:
        sendgrid.send(a_mail())

    assert type(caught.value) is expected
    assert caught.value.reason == f"http_{status}"
    assert len(stub.requests) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_accepted(stub, sendgrid, status):
    stub.answers(Answer(status, {"X-Message-Id": "m1"}))

    assert sendgrid.send(a_mail()) == Receipt("m1")


@pytest.mark.parametrize("how", ["cut_body", "close", "huge_body"])
def test_an_accepted_mail_stays_accepted_whatever_becomes_of_the_body(stub, sendgrid, how):
    stub.answers(Answer(202, {"X-Message-Id": "m1"}, how=how))

    assert sendgrid.send(a_mail()) == Receipt("m1")


@pytest.mark.parametrize("told", [{}, {"X-Message-Id": ""}, {"X-Message-Id": "x" * 500}])
def test_a_receipt_may_lack_an_id(stub, sendgrid, told):
    stub.answers(Answer(202, told))

    assert sendgrid.send(a_mail()) == Receipt(None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"X-RateLimit-Reset": str(int(NOW) + 12)}, 12),
        ({"X-RateLimit-Reset": str(int(NOW) - 12)}, None),
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "30", "X-RateLimit-Reset": str(int(NOW) + 12)}, 30),
        ({"Retry-After": "Thu, 28 May 2026 20:27:20 GMT"}, 40),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan", "X-RateLimit-Reset": "inf"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "99999999"}, 3600),
    ],
)
def test_how_long_to_wait_is_read(stub, sendgrid, headers, seconds):
    stub.answers(Answer(429, headers))

    with pytest.raises(TransientProviderError) as caught:
        sendgrid.send(a_mail())

    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com\r\nBcc: b@example.com",
        "a@x.example,b@x.example",
        "<a@x.example>",
        "nobody",
        "@x",
        "a@",
    ],
)
def test_an_address_that_is_not_one_plain_address_is_never_sent(stub, sendgrid, address):
    with pytest.raises(PermanentProviderError) as caught:
        sendgrid.send(a_mail(address))

    assert caught.value.reason == "bad_address"
    assert stub.requests == []


def test_text_stands_before_html(stub, sendgrid):
    sendgrid.send(a_mail(text="the text", html="<p>the page</p>"))

    content = json.loads(stub.requests[0].body)["content"]
    assert [(part["type"], part["value"]) for part in content] == [
        ("text/plain", "the text"),
        ("text/html", "<p>the page</p>"),
    ]


def test_a_key_of_two_lines_is_refused():
    with pytest.raises(SettingsError, match="KEYTURN_SENDGRID_API_KEY") as caught:
        SendGrid(some_settings(sendgrid_api_key="SG.secret\r\nX: y"))

    assert "SG.secret" not in str(caught.value)
