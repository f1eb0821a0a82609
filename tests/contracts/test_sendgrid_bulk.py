"""One request to SendGrid for many recipients: what it says, and whom an answer is about."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from sendgrid.helpers.mail import CustomArg, Header, Personalization, Substitution, To

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    RefusedTogetherError,
    TransientProviderError,
    UnsendableError,
)
from shared.models import Receipt
from shared.providers import BulkProvider
from shared.providers.sendgrid import SendGrid, build_payload, shared_payload
from shared.providers.sendgrid_bulk import BulkRequest
from tests.contracts.test_provider_requests import (
    SENDGRID,
    as_werkzeug,
    complaints,
    official,
)
from tests.support.provider_builders import (
    LOGO,
    TIMEOUT_SECONDS,
    a_bulk_email,
    a_bulk_recipient,
    a_mail,
    some_settings,
)
from tests.support.provider_stub import Answer, ProviderStub

ONES_SCHEMA = "sendgrid_mail_send.schema.json"
MANY = 1000


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def sendgrid(stub):
    provider = SendGrid(some_settings(sendgrid_api_url=stub.url))
    yield provider
    provider.close()


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


def refusing(*fields):
    errors = [{"message": "ada.lovelace@example.com", "field": field} for field in fields]
    return Answer.of_json(400, {"errors": errors})


def test_it_is_a_provider_of_many(sendgrid):
    assert isinstance(sendgrid, BulkProvider)


def test_sendgrid_itself_would_understand_a_thousand(stub, sendgrid):
    copies = [a_bulk_recipient(number) for number in range(MANY)]

    outcomes = sendgrid.send_bulk(a_bulk_email(*copies))

    official(SENDGRID, stub.url).validate_request(as_werkzeug(stub.requests[0], stub.url))
    assert len(stub.requests) == 1
    assert kinds(outcomes) == [Receipt] * MANY
    assert [entry["resetId"] for entry in stub.taken] == [copy.reset_id for copy in copies]


def test_what_each_gets_is_what_our_schema_says_of_one(stub, sendgrid):
    sendgrid.send_bulk(a_bulk_email())

    for entry in stub.taken:
        mail = entry["mail"]
        (person,) = mail["personalizations"]
        alone = mail | {"personalizations": [{k: person[k] for k in ("to", "custom_args")}]}
        assert complaints(ONES_SCHEMA, alone) == []
        assert mail["headers"]["Message-ID"] == f"<{entry['resetId']}@keyturn.example>"
        assert mail["headers"]["Keyturn-Reset-Id"] == entry["resetId"]


def test_our_dictionaries_are_what_the_official_helpers_make():
    copy = a_bulk_recipient(1)
    official_one = Personalization()
    to = To()
    to.email = copy.recipient.address
    official_one.add_to(to)
    official_one.add_custom_arg(CustomArg("keyturn_reset_id", copy.reset_id))
    for name, value in copy.values.items():
        official_one.add_substitution(Substitution(name, value))
    for name, value in (
        ("Keyturn-Reset-Id", copy.reset_id),
        ("Message-ID", copy.message_id),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
    ):
        official_one.add_header(Header(name, value))

    bulk_email = a_bulk_email(copy)
    payload = BulkRequest(bulk_email, shared_payload(bulk_email)).payload

    assert payload["personalizations"] == [official_one.get()]


def test_what_all_share_is_what_one_mail_says():
    bulk_email, mail = a_bulk_email(), a_mail()
    same = a_bulk_email(text=mail.text, html=mail.html)
    one = build_payload(mail)

    assert shared_payload(same) == {
        name: one[name] for name in ("from", "subject", "content", "tracking_settings")
    }
    assert "personalizations" not in shared_payload(bulk_email)


def test_a_bulk_email_brings_one_logo_for_all(stub, sendgrid):
    recipient = replace(a_bulk_recipient(1), feedback_id="reset:acme:email:keyturn")

    sendgrid.send_bulk(a_bulk_email(recipient, reply_to="help@acme.example", logo=LOGO))

    official(SENDGRID, stub.url).validate_request(as_werkzeug(stub.requests[0], stub.url))
    sent = stub.requests[0].json
    alone = build_payload(a_mail(reply_to="help@acme.example", logo=LOGO))
    assert (sent["reply_to"], sent["attachments"]) == (alone["reply_to"], alone["attachments"])
    assert stub.taken[0]["mail"]["headers"]["Feedback-ID"] == "reset:acme:email:keyturn"


def test_one_that_is_named_costs_only_itself(stub, sendgrid):
    copies = [a_bulk_recipient(number) for number in range(MANY)]
    copies[617] = a_bulk_recipient(617, "ada@malformed.example")

    outcomes = sendgrid.send_bulk(a_bulk_email(*copies))

    assert Counter(kinds(outcomes)) == {PermanentProviderError: 1, RefusedTogetherError: MANY - 1}
    assert outcomes[617].reason == "http_400"
    assert stub.taken == []


def test_a_refusal_that_names_nobody_is_about_any_of_them(stub, sendgrid):
    for answer in (refusing(None), refusing("null"), refusing("personalizations"), Answer(400)):
        stub.answers(answer)

        assert kinds(sendgrid.send_bulk(a_bulk_email())) == [RefusedTogetherError] * 3


@pytest.mark.parametrize("field", ["from.email", "subject", "content.0.value", "template_id"])
def test_a_refusal_of_what_all_share_is_about_all_of_them(stub, sendgrid, field):
    stub.answers(refusing(field))

    assert kinds(sendgrid.send_bulk(a_bulk_email())) == [PermanentProviderError] * 3


def test_several_may_be_named(stub, sendgrid):
    stub.answers(refusing("personalizations.0.to", "personalizations.2.to.0.email"))

    assert kinds(sendgrid.send_bulk(a_bulk_email())) == [
        PermanentProviderError,
        RefusedTogetherError,
        PermanentProviderError,
    ]


def test_a_place_that_was_not_in_the_request_names_nobody(stub, sendgrid):
    stub.answers(refusing("personalizations.3.to.0.email"))

    assert kinds(sendgrid.send_bulk(a_bulk_email())) == [RefusedTogetherError] * 3


@pytest.mark.parametrize("field", [None, "personalizations.0.to.0.email", "subject"])
def test_one_alone_is_refused_for_good(stub, sendgrid, field):
    stub.answers(refusing(field))

    assert kinds(sendgrid.send_bulk(a_bulk_email(a_bulk_recipient()))) == [PermanentProviderError]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (413, RefusedTogetherError), (401, AccountProviderError), (429, TransientProviderError),
        (503, TransientProviderError), (502, DoubtfulProviderError),
    ],
)  # fmt: skip
def test_a_status_holds_for_all(stub, sendgrid, status, expected):
    stub.answers(Answer(status, {"Retry-After": "7"}))

    assert kinds(sendgrid.send_bulk(a_bulk_email())) == [expected] * 3


def test_an_answer_that_does_not_come_leaves_all_in_doubt(stub):
    stub.answers(Answer(how="hang"))
    settings = some_settings(sendgrid_api_url=stub.url, provider_timeout_seconds=TIMEOUT_SECONDS)

    assert kinds(SendGrid(settings).send_bulk(a_bulk_email())) == [DoubtfulProviderError] * 3


def test_an_address_that_is_none_is_left_out(stub, sendgrid):
    bad = a_bulk_recipient(2, "a@x.example,b@x.example")

    outcomes = sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1), bad, a_bulk_recipient(3)))

    assert kinds(outcomes) == [Receipt, UnsendableError, Receipt]
    assert outcomes[1].reason == "bad_address"
    assert len(stub.taken) == 2


def test_nothing_is_called_for_nobody(stub, sendgrid):
    outcomes = sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1, "nobody")))

    assert kinds(outcomes) == [UnsendableError]
    assert stub.requests == []


def test_an_address_stands_once_in_a_request(stub, sendgrid):
    twice = a_bulk_recipient(2, "Ada.Lovelace1@Example.com")

    outcomes = sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1), twice, a_bulk_recipient(3)))

    assert kinds(outcomes) == [Receipt, RefusedTogetherError, Receipt]
    assert [entry["resetId"] for entry in stub.taken] == ["7c0ffee1", "7c0ffee3"]


@pytest.mark.parametrize("sign", ["x", "ü", "🙂"])
def test_values_too_large_for_a_personalization_are_left_out(stub, sendgrid, sign):
    large = a_bulk_recipient(2, **{"name.text": sign * (10_000 // len(sign.encode()))})

    outcomes = sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1), large))

    assert kinds(outcomes) == [Receipt, RefusedTogetherError]
    assert len(stub.taken) == 1


def test_values_just_small_enough_go_out(stub, sendgrid):
    nameless = a_bulk_recipient(2, **{"name.text": ""})
    room = 10_000 - sum(len(k + v) for k, v in nameless.values.items())
    full = a_bulk_recipient(2, **{"name.text": "x" * room})

    outcomes = sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1), full))

    assert kinds(outcomes) == [Receipt, Receipt]


@pytest.mark.parametrize(
    "name",
    [
        "-5eed5eed5eed5ee.code.text-", "-code.text-", "%name%", "{{code}}", "<%body%>", "\\1 $1",
        "\ud800", "Zoë 🙂", "-", "--", "[unsubscribe]", "a\r\nBcc: x@example.com",
    ],
)  # fmt: skip
def test_a_strange_name_stands_in_its_own_copy_alone(stub, sendgrid, name):
    strange = a_bulk_recipient(2, **{"name.text": name})

    sendgrid.send_bulk(a_bulk_email(a_bulk_recipient(1), strange, a_bulk_recipient(3)))

    texts = [entry["mail"]["content"][0]["value"] for entry in stub.taken]
    told = name.encode("utf-8", "replace").decode()
    assert texts == [
        f"Grüezi {each}\n.\nYour code: ABCD-EFGH\n" for each in ("Ada 1", told, "Ada 3")
    ]


def test_no_error_tells_what_sendgrid_wrote(stub, sendgrid):
    stub.answers(refusing("personalizations.0.to.0.email"))

    outcomes = sendgrid.send_bulk(a_bulk_email())

    assert "ada" not in json.dumps([f"{each!r} {each}" for each in outcomes]).lower()
