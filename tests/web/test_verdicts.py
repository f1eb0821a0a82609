"""One verdict in plain words for every way a reset can stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.models import Attempt, Channel, Kind, Outcome, Queue, Reset, Status
from web.verdicts import VERDICTS, judge

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RESET = Reset(
    reset_id="0abc",
    kind=Kind.RESET,
    user_id="ada",
    org_id="acme",
    channel=Channel.EMAIL,
    queue=Queue.URGENT,
    status=Status.QUEUED,
    reason=None,
    language="en",
    key_id="k",
    sequence=1,
    created_at=NOW - timedelta(seconds=42),
    deadline_at=NOW + timedelta(hours=1),
    request_id=None,
)


def an_attempt(outcome: Outcome | None, detail: str | None = None) -> Attempt:
    return Attempt(1, "sendgrid", NOW, NOW, outcome, "m1", detail)


def test_every_status_has_a_verdict():
    assert set(VERDICTS) == set(Status)


@pytest.mark.parametrize(
    ("changes", "words", "next_step"),
    [
        ({}, "waiting in the urgent queue for 42 s", "keyturn status"),
        ({"status": Status.SENDING}, "handing it to a provider", "Look again"),
        (
            {
                "status": Status.RETRYING,
                "attempts": (an_attempt(Outcome.TRANSIENT, "out of service"),),
                "next_look_at": NOW + timedelta(seconds=6),
            },
            "Attempt 1 at sendgrid ended as transient (out of service)",
            "the next attempt is due at 2026-11-23 12:00:06 UTC",
        ),
        (
            {
                "status": Status.RETRYING,
                "attempts": (an_attempt(Outcome.TRANSIENT),),
                "next_look_at": NOW + timedelta(hours=1),
            },
            "It is retried until 2026-11-23 13:00:00 UTC",
            "No further attempt fits in",
        ),
        (
            {"status": Status.UNKNOWN, "attempts": (an_attempt(Outcome.DOUBT),)},
            "the provider may have it",
            "the same code",
        ),
        (
            {"status": Status.ACCEPTED, "attempts": (an_attempt(Outcome.ACCEPTED),)},
            "sendgrid took it at 2026-11-23 12:00:00 UTC (its message id: m1)",
            "the code works until 2026-11-23 13:00:00 UTC",
        ),
        (
            {
                "status": Status.ACCEPTED,
                "attempts": (an_attempt(Outcome.ACCEPTED),),
                "deadline_at": NOW - timedelta(hours=1),
            },
            "sendgrid took it",
            "The code expired at 2026-11-23 11:00:00 UTC",
        ),
        (
            {"status": Status.ACCEPTED, "kind": Kind.RETURNED},
            "The code was returned to the caller",
            "Ask the calling system",
        ),
        ({"status": Status.DELIVERED}, "it arrived", "spam folder"),
        ({"status": Status.UNDELIVERED, "reason": "bounce"}, "bounced", "ask for a new reset"),
        (
            {"status": Status.FAILED, "attempts": (an_attempt(Outcome.PERMANENT, "no such box"),)},
            "It failed for good: no such box",
            "ask for a new reset",
        ),
        ({"status": Status.SUPPRESSED, "reason": "opt_out"}, "the recipient opted out", "lift"),
        (
            {"status": Status.EXPIRED, "reason": "no_provider_in_time"},
            "no provider took it before its last possible start",
            "Ask for a new reset",
        ),
        ({"status": Status.CANCELLED, "reason": "superseded"}, "a newer reset", "newest reset"),
        ({"completed_at": NOW}, "the password changed at 2026-11-23 12:00:00 UTC", "Nothing"),
    ],
)
def test_a_verdict_says_what_happened_and_what_to_do(changes, words, next_step):
    verdict = judge(replace(RESET, **changes), NOW)

    assert words in verdict.words
    assert next_step in verdict.next_step
