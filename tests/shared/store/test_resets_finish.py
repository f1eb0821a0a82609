"""FINISH: what came of a claim, noted once; and what is counted on the way."""

from __future__ import annotations

import pytest

from shared.models import Channel, Outcome, Status
from shared.store import keys
from shared.store.resets import Finish
from tests.support.store_builders import LIFETIME_SECONDS, MARGIN_SECONDS, stores_of
from tests.support.waiting import a_wait

FINAL = [status for status in Status if status.is_final]


@pytest.fixture
def stores(client):
    return stores_of(client)


def everything(stores):
    dumped = {}
    for key in stores.client.scan_iter():
        reads = {
            "hash": stores.client.hgetall,
            "set": stores.client.smembers,
            "list": lambda name: stores.client.lrange(name, 0, -1),
            "zset": lambda name: stores.client.zrange(name, 0, -1, withscores=True),
        }
        dumped[key] = reads[stores.client.type(key)](key)
    return dumped


def test_a_stale_holder_changes_nothing(stores):
    reset_id = stores.record()
    stale = stores.resets.claim(reset_id)
    stores.make_due(reset_id)
    stores.resets.claim(reset_id)
    before = everything(stores)

    is_noted = stores.resets.finish(
        stale, Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="p1")
    )

    assert not is_noted
    assert everything(stores) == before


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.FAILED, Status.RETRYING])
def test_an_outcome_said_twice_is_noted_once(stores, status):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)
    finish = Finish(status=status, outcome=Outcome.DOUBT, provider="p1", duration_ms=30)
    assert stores.resets.finish(claim, finish)
    before = everything(stores)

    assert stores.resets.finish(claim, finish)

    assert everything(stores) == before


def test_an_outcome_said_again_after_the_next_claim_counts_as_noted(stores):
    reset_id = stores.record()
    claim = stores.attempt(reset_id, Outcome.TRANSIENT, Status.RETRYING)
    stores.resets.claim(reset_id)

    assert stores.resets.finish(claim, Finish(status=Status.RETRYING))


@pytest.mark.parametrize("status", FINAL)
def test_a_final_status_takes_the_reset_out_of_the_due_set(stores, status):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)

    stores.resets.finish(claim, Finish(status=status, reason="why", outcome=Outcome.PERMANENT))

    reset = stores.resets.find(reset_id)
    assert (reset.status, reset.reason, reset.next_look_at) == (status, "why", None)
    assert stores.due_at(reset_id) is None
    assert stores.client.pttl(keys.reset(reset_id)) > 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(Status.RETRYING, Outcome.TRANSIENT), (Status.UNKNOWN, Outcome.DOUBT), (Status.QUEUED, None)],
)
def test_another_status_is_due_again_after_its_delay(stores, status, outcome):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id) if outcome else stores.resets.claim(reset_id)

    stores.resets.finish(claim, Finish(status=status, outcome=outcome, delay_seconds=7))

    reset = stores.resets.find(reset_id)
    wait_ms = stores.due_at(reset_id) - stores.now_ms()
    assert reset.status is status
    assert wait_ms / 1000 == a_wait(7)
    assert reset.next_look_at.timestamp() * 1000 == stores.due_at(reset_id)
    assert stores.client.pttl(keys.reset(reset_id)) == -1


def test_an_attempt_is_kept_with_what_came_of_it(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id, "sendgrid")

    stores.resets.finish(
        claim,
        Finish(
            status=Status.RETRYING,
            reason="http_503",
            outcome=Outcome.TRANSIENT,
            provider="sendgrid",
            provider_message_id="m/1",
            detail='the provider said "später"',
        ),
    )

    attempt = stores.resets.find(reset_id).attempts[0]
    assert (attempt.number, attempt.provider, attempt.outcome) == (1, "sendgrid", "transient")
    assert (attempt.provider_message_id, attempt.detail) == ("m/1", 'the provider said "später"')
    assert attempt.started_at <= attempt.finished_at


def test_a_retry_that_would_start_too_late_waits_for_the_deadline(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)
    delay = LIFETIME_SECONDS - MARGIN_SECONDS + 1

    stores.resets.finish(
        claim, Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT, delay_seconds=delay)
    )

    assert stores.due_at(reset_id) == int(stores.field(reset_id, "x"))


def test_a_doubt_is_looked_at_before_the_deadline_or_at_it(stores):
    early, late = stores.record("ada"), stores.record("grace")
    in_margin = LIFETIME_SECONDS - MARGIN_SECONDS + 1

    for reset_id, delay in ((early, in_margin), (late, LIFETIME_SECONDS + 1)):
        claim = stores.claim_sending(reset_id)
        stores.resets.finish(
            claim, Finish(status=Status.UNKNOWN, outcome=Outcome.DOUBT, delay_seconds=delay)
        )

    assert stores.due_at(early) < int(stores.field(early, "x"))
    assert stores.due_at(late) == int(stores.field(late, "x"))


def test_a_code_that_was_never_handed_over_dies_with_its_reset(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)

    stores.resets.finish(claim, Finish(status=Status.FAILED, outcome=Outcome.PERMANENT))

    assert stores.live() == set()


def test_a_code_that_may_have_arrived_outlives_its_reset(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    claim = stores.claim_sending(reset_id)

    stores.resets.finish(claim, Finish(status=Status.FAILED, outcome=Outcome.PERMANENT))

    assert stores.live() == {reset_id}


def test_an_accepted_code_lives_on(stores):
    reset_id = stores.record()

    stores.attempt(reset_id)

    assert stores.live() == {reset_id}


def test_a_doubtful_attempt_that_was_found_is_marked_so(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    claim = stores.resets.claim(reset_id)

    stores.resets.finish(
        claim, Finish(status=Status.ACCEPTED, outcome=Outcome.FOUND, provider_message_id="m1")
    )

    reset = stores.resets.find(reset_id)
    assert reset.status is Status.ACCEPTED
    assert [a.outcome for a in reset.attempts] == [Outcome.FOUND]


def test_the_counters_tell_what_is_open_and_what_was_reached(stores):
    accepted, failed, waiting = (stores.record(name) for name in ("ada", "grace", "edsger"))
    stores.record("alan", channel=Channel.SMS)
    stores.attempt(accepted)
    stores.attempt(failed, Outcome.PERMANENT, Status.FAILED)
    stores.retry(waiting)

    totals = stores.counters.totals()

    assert stores.counted_now() == stores.census() == {"queued": 1, "retrying": 1}
    assert totals["to:email:queued"] == 3
    assert totals["to:sms:queued"] == 1
    assert totals["to:email:accepted"] == totals["to:email:failed"] == 1
    assert totals["to:email:sending"] == 3


def test_every_call_to_a_provider_is_counted_with_its_duration(stores):
    for name, took in (("ada", 20), ("grace", 26), ("alan", 12_000)):
        stores.attempt(stores.record(name), duration_ms=took)

    totals = stores.counters.totals()

    assert totals["p:p1:accepted:n"] == 3
    assert totals["p:p1:accepted:ms"] == 12_046
    assert [totals[f"p:p1:accepted:b{bound}"] for bound in ("25", "50", "inf")] == [1, 1, 1]


def test_a_look_without_an_attempt_counts_no_call(stores):
    claim = stores.resets.claim(stores.record())

    stores.resets.finish(claim, Finish(status=Status.QUEUED, reason="directory_unavailable"))

    assert not [name for name in stores.counters.totals() if name.startswith("p:")]
