"""Every word of a provider's callbacks and what it means; none of their texts goes further."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from shared.models import EventType, Status
from shared.providers.sendgrid_webhook import EVENTS, parse_events
from shared.providers.twilio_webhook import STATUSES, Form, parse_status
from tests.support.callback_builders import a_mail_event, a_status, twilio_query

RESET = "0abc"


def read_mail(event, **fields):
    told = parse_events([a_mail_event(event, RESET, **fields)])
    assert len(told.events) == 1
    return told.events[0]


def read_sms(status, **fields):
    form = Form({name: [value] for name, value in a_status(status, **fields).items()})
    return parse_status(form, twilio_query(RESET), provider="twilio")


@pytest.mark.parametrize(
    ("event", "fields", "status", "reason", "suppression"),
    [
        ("processed", {}, Status.ACCEPTED, "", ""),
        ("deferred", {"response": "450 ada@example.com"}, Status.ACCEPTED, "deferred", ""),
        ("delivered", {"response": "250 OK"}, Status.DELIVERED, "", ""),
        ("bounce", {"type": "bounce"}, Status.UNDELIVERED, "bounce", "bounce"),
        ("bounce", {"type": "blocked"}, Status.UNDELIVERED, "blocked", ""),
        ("blocked", {"type": "bounce"}, Status.UNDELIVERED, "blocked", ""),
        ("bounce", {}, Status.UNDELIVERED, "bounce_unclear", ""),
        ("bounce", {"type": ["bounce"]}, Status.UNDELIVERED, "bounce_unclear", ""),
        ("dropped", {"reason": "Bounced Address"}, Status.FAILED, "bounce", "bounce"),
        ("dropped", {"reason": "Spam Reporting Address"}, Status.FAILED, "complaint", "complaint"),
        ("dropped", {"reason": "Unsubscribed Address"}, Status.SUPPRESSED, "opt_out", "opt_out"),
        ("dropped", {"reason": "Invalid"}, Status.FAILED, "invalid_address", ""),
        ("dropped", {"reason": "Spam Content"}, Status.FAILED, "spam_content", ""),
        ("dropped", {"reason": "something new"}, Status.FAILED, "dropped", ""),
        ("dropped", {}, Status.FAILED, "dropped", ""),
        ("spamreport", {}, None, "complaint", "complaint"),
        ("unsubscribe", {}, None, "opt_out", "opt_out"),
        ("group_unsubscribe", {}, None, "opt_out", "opt_out"),
    ],
)
def test_an_event_of_sendgrid_means_this(event, fields, status, reason, suppression):
    read = read_mail(event, **fields)

    assert (read.status, read.reason, read.suppression) == (status, reason, suppression)


@pytest.mark.parametrize("event", EVENTS)
def test_no_text_of_sendgrid_goes_further(event):
    read = read_mail(event, reason="550 <ada@example.com> unknown", response="ada@example.com")

    assert "ada@" not in str(asdict(read))


def test_a_message_id_of_sendgrid_is_the_one_the_receipt_gave():
    assert read_mail("delivered", sg_message_id="Vn0pY.filter1.2.3").message_id == "Vn0pY"


@pytest.mark.parametrize(
    ("timestamp", "at_ms"),
    [(1519267261, 1519267261000), ("soon", None), (-1, None), (None, None), (1e300, None)],
)
def test_a_moment_of_sendgrid_is_taken_where_it_is_one(timestamp, at_ms):
    assert read_mail("delivered", timestamp=timestamp).at_ms == at_ms


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (a_mail_event("delivered", None), "foreign"),
        (a_mail_event("account_status_change", None), "foreign"),
        (a_mail_event("delivered", None, keyturn_reset_id=7), "foreign"),
        (a_mail_event("open", RESET), "ignored"),
        (a_mail_event("click", RESET), "ignored"),
        (a_mail_event("teleported", RESET), "unread"),
        (a_mail_event("delivered", RESET, event=None), "unread"),
        (a_mail_event("delivered", RESET, event={"x": 1}), "unread"),
        (a_mail_event("delivered", RESET, sg_event_id=None), "unread"),
        ("no object", "unread"),
        (None, "unread"),
    ],
)
def test_what_is_not_about_our_messages_is_only_counted(told, why):
    good = a_mail_event("delivered", RESET)

    read = parse_events([told, good])

    assert read.skipped == {why: 1}
    assert len(read.events) == 1


@pytest.mark.parametrize(
    ("status", "code", "ours", "reason", "suppression"),
    [
        ("queued", "", Status.ACCEPTED, "", ""),
        ("sending", "", Status.ACCEPTED, "", ""),
        ("sent", "", Status.ACCEPTED, "", ""),
        ("delivered", "", Status.DELIVERED, "", ""),
        ("read", "", Status.DELIVERED, "", ""),
        ("undelivered", "30003", Status.UNDELIVERED, "twilio_30003", ""),
        ("undelivered", "30005", Status.UNDELIVERED, "twilio_30005", "bad_number"),
        ("undelivered", "30006", Status.UNDELIVERED, "twilio_30006", "bad_number"),
        ("undelivered", "", Status.UNDELIVERED, "twilio_undelivered", ""),
        ("failed", "21610", Status.SUPPRESSED, "twilio_21610", "opt_out"),
        ("failed", "30008", Status.FAILED, "twilio_30008", ""),
        ("failed", "99999", Status.FAILED, "twilio_99999", ""),
        ("failed", "no number", Status.FAILED, "twilio_failed", ""),
        ("canceled", "", Status.FAILED, "twilio_failed", ""),
    ],
)
def test_a_status_of_twilio_means_this(status, code, ours, reason, suppression):
    (read,) = read_sms(status, ErrorCode=code).events

    assert (read.status, read.reason, read.suppression) == (ours, reason, suppression)


@pytest.mark.parametrize("status", STATUSES)
def test_no_text_of_twilio_goes_further(status):
    (read,) = read_sms(status, ErrorMessage="+41791234567 said no").events

    assert "4179" not in str(asdict(read))


@pytest.mark.parametrize(
    ("status", "fields", "why"),
    [
        ("received", {}, "ignored"),
        ("teleported", {}, "unread"),
        ("", {}, "unread"),
        ("sent", {"MessageSid": "", "SmsSid": ""}, "unread"),
    ],
)
def test_what_twilio_says_in_words_we_do_not_know_is_only_counted(status, fields, why):
    assert read_sms(status, **fields).skipped == {why: 1}


def test_a_status_of_a_message_without_our_id_is_foreign():
    form = Form({name: [value] for name, value in a_status("sent").items()})

    assert parse_status(form, "", provider="twilio").skipped == {"foreign": 1}


def test_every_failure_of_twilio_is_told_apart_from_its_acceptance():
    kinds = {word: kind for word, kind in STATUSES.items() if kind is EventType.ACCEPTED}

    assert set(kinds) == {"accepted", "scheduled", "queued", "sending", "sent"}
