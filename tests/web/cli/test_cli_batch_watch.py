"""What `keyturn batch watch` draws."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime

import pytest
from rich.console import Console

from shared.models import Channel, Status
from shared.store.batches import Batch, BatchState
from web.batches.progress import Progress
from web.cli import batch_watch
from web.cli.batch_watch import RateEstimator, draw

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def a_progress(ends=(), **fields):
    values = {
        "batch_id": "b1", "state": BatchState.RUNNING, "channel": Channel.EMAIL, "reason": "",
        "by": "eve", "caller_id": "", "org_ids": None, "list_id": "l", "lists": 4, "total": 2000,
        "rate_per_second": 0.0, "lifetime_seconds": 1.0, "mark": "m", "created_at": NOW,
        "started_at": NOW, "changed_at": None, "finished_at": None, "next_list": 2,
        "next_index": 0, "recorded": 990, "skipped": {"inactive": 10}, "plan": {},
    }  # fmt: skip
    return Progress(Batch(**values | fields), Counter(dict(ends)))


def drawn(progress, rate):
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(draw(progress, rate))
    return console.file.getvalue()


def test_the_bar_the_rate_and_the_time_left_are_shown():
    text = drawn(a_progress({(Status.ACCEPTED, ""): 990}), rate=10.0)

    assert "1,000/2,000" in text
    assert "10/s" in text
    assert "0:01:40 left" in text


def test_a_paused_batch_promises_no_rate_and_no_time():
    text = drawn(a_progress({(Status.ACCEPTED, ""): 990}, state=BatchState.PAUSED), rate=10.0)

    assert "1,000/2,000" in text
    assert "paused, 1,000 of 2,000 done" in text
    assert "/s" not in text
    assert "left" not in text


def test_failures_and_skips_are_shown_by_reason():
    text = drawn(a_progress({(Status.FAILED, "http_400"): 3}), rate=0.0)

    assert "with 3 failures: 3 failed: http_400" in text
    assert "skipped, inactive: 10" in text


@pytest.mark.parametrize(
    ("fields", "ends", "sentence"),
    [
        ({}, {}, "running, 10 of 2,000 done"),
        ({"state": BatchState.PLANNED}, {}, "planned"),
        ({"state": BatchState.PAUSED}, {(Status.ACCEPTED, ""): 90}, "paused, 100 of 2,000 done"),
        ({"state": BatchState.CANCELLED}, {}, "cancelled, 990 still to be taken back"),
        ({"next_list": 4}, {(Status.DELIVERED, ""): 990}, "finished"),
        (
            {"next_list": 4},
            {(Status.ACCEPTED, ""): 988, (Status.EXPIRED, "not_sent_in_time"): 2},
            "finished with 2 failures: 2 expired: not_sent_in_time",
        ),
        (
            {"next_list": 4},
            {(Status.ACCEPTED, ""): 988, (Status.CANCELLED, "superseded"): 2},
            "finished",
        ),
    ],
)
def test_the_sentence_hides_nothing(fields, ends, sentence):
    assert a_progress(ends, **fields).sentence == sentence


def test_the_rate_is_that_of_the_last_seconds(monkeypatch):
    moments = iter([0.0, 5.0, 10.0, 15.0, 20.0])
    monkeypatch.setattr(batch_watch, "now", lambda: next(moments))
    pace = RateEstimator()

    rates = [pace.note(done) for done in (0, 100, 200, 200, 200)]

    assert rates == [0.0, 20.0, 20.0, 10.0, 0.0]
