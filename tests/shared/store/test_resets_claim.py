"""CLAIM and SENDING: one worker at a time, never an ended code, never a third copy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.models import DUE_QUEUES, Outcome, Status
from shared.store import keys
from shared.store.resets import MAX_CLAIMS, ClaimOverError, Finish, TooLateError
from tests.support.store_builders import KEEP_SECONDS, MARGIN_SECONDS, stores_of

pytestmark = pytest.mark.topology

LEASE_SECONDS = 60.0


@pytest.fixture
def stores(client):
    return stores_of(client, lease_seconds=LEASE_SECONDS)


def test_what_is_due_can_be_claimed(stores):
    reset_id = stores.record()

    claim = stores.resets.claim(reset_id)

    assert (claim.reset.reset_id, claim.fence // 10_000, claim.is_doubtful) == (reset_id, 1, False)
    assert abs(claim.now.timestamp() * 1000 - stores.now_ms()) < 2000


def test_a_claim_is_a_lease_that_is_due_later(stores):
    reset_id = stores.record()

    stores.resets.claim(reset_id)

    left_ms = stores.due_at(reset_id) - stores.now_ms()
    assert left_ms == pytest.approx(LEASE_SECONDS * 1000, abs=10_000)


def test_nothing_is_claimed_where_nothing_was_recorded(stores):
    assert stores.resets.claim(stores.digests.new_reset_id("ada")) is None


def test_what_is_leased_is_not_claimed_again(stores):
    reset_id = stores.record()
    stores.resets.claim(reset_id)

    assert stores.resets.claim(reset_id) is None


def test_what_is_not_due_is_not_claimed(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)
    stores.resets.finish(
        claim, Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT, delay_seconds=9)
    )

    assert stores.resets.claim(reset_id) is None


def test_what_is_final_is_not_claimed(stores):
    reset_id = stores.record()
    stores.attempt(reset_id)

    assert stores.resets.claim(reset_id) is None


@pytest.mark.parametrize("queue", DUE_QUEUES)
def test_a_final_reset_left_in_a_due_set_is_taken_out(stores, queue):
    reset_id = stores.record(queue=queue)
    stores.attempt(reset_id)
    stores.client.zadd(keys.due(keys.tag_of(reset_id), queue), {reset_id: 0})

    assert stores.resets.claim(reset_id) is None
    assert stores.due_at(reset_id, queue) is None
    assert stores.status(reset_id) is Status.ACCEPTED


def test_an_id_without_a_record_is_taken_out_of_the_due_set(stores):
    reset_id = stores.record()
    stores.client.delete(keys.reset(reset_id))

    assert stores.resets.claim(reset_id) is None
    assert stores.due_at(reset_id) is None


def test_a_lapsed_lease_is_claimed_by_the_next_with_a_higher_fence(stores):
    reset_id = stores.record()
    first = stores.resets.claim(reset_id)
    stores.make_due(reset_id)

    second = stores.resets.claim(reset_id)

    assert second.fence // 10_000 == first.fence // 10_000 + 1
    assert not second.is_doubtful
    with pytest.raises(ClaimOverError):
        stores.mark_sending(first)


def test_of_fifty_who_claim_at_once_one_succeeds(stores):
    reset_id = stores.record()

    with ThreadPoolExecutor(50) as pool:
        claims = list(pool.map(stores.resets.claim, [reset_id] * 50))

    assert len([claim for claim in claims if claim]) == 1


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], "not_sent_in_time"),
        (["retry"], "no_provider_in_time"),
        (["doubt"], "in_doubt"),
        (["doubt", "retry"], "in_doubt"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_a_reset_past_its_deadline_expires_with_its_reason(stores, history, reason):
    reset_id = stores.record()
    for step in history:
        getattr(stores, step)(reset_id)
    stores.end_in(reset_id, -0.001)

    assert stores.resets.claim(reset_id) is None

    assert (stores.status(reset_id), stores.reason(reset_id)) == (Status.EXPIRED, reason)
    assert stores.due_at(reset_id) is None
    expected = KEEP_SECONDS * 1000
    assert stores.client.pttl(keys.reset(reset_id)) == pytest.approx(expected, abs=10_000)


def test_an_outcome_that_comes_after_the_end_changes_nothing(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)
    stores.end_in(reset_id, -0.001)
    stores.make_due(reset_id)
    stores.resets.claim(reset_id)

    is_noted = stores.resets.finish(
        claim, Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT)
    )

    assert not is_noted
    assert stores.status(reset_id) is Status.EXPIRED
    assert stores.due_at(reset_id) is None
    assert stores.counted_now() == {}


def test_a_reset_that_ends_its_workers_five_times_fails_as_poison(stores):
    reset_id = stores.record(cooldown_seconds=3600)
    for _ in range(MAX_CLAIMS):
        assert stores.resets.claim(reset_id)
        stores.make_due(reset_id)

    assert stores.resets.claim(reset_id) is None

    assert (stores.status(reset_id), stores.reason(reset_id)) == (Status.FAILED, "poison")
    assert stores.live() == set()
    assert stores.record(cooldown_seconds=3600)


def test_claims_that_came_to_something_do_not_count_toward_poison(stores):
    reset_id = stores.record()

    for _ in range(MAX_CLAIMS + 2):
        stores.retry(reset_id)

    assert stores.resets.claim(reset_id)


def test_a_death_while_sending_is_doubt(stores):
    reset_id = stores.record()
    stores.claim_sending(reset_id, "sendgrid")
    stores.make_due(reset_id)

    claim = stores.resets.claim(reset_id)

    attempt = claim.reset.attempts[0]
    assert claim.is_doubtful
    assert claim.reset.status is Status.UNKNOWN
    assert (attempt.provider, attempt.outcome) == ("sendgrid", Outcome.DOUBT)
    assert attempt.finished_at is not None
    assert attempt.detail == "the worker died during the call"
    assert stores.counted_now() == {"unknown": 1}


def test_after_two_doubts_a_reset_is_held_until_its_deadline(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.doubt(reset_id)

    assert stores.resets.claim(reset_id) is None

    assert stores.status(reset_id) is Status.UNKNOWN
    assert stores.due_at(reset_id) == int(stores.field(reset_id, "x"))


def test_two_deaths_while_sending_hold_a_reset(stores):
    reset_id = stores.record()
    for _ in range(2):
        stores.claim_sending(reset_id)
        stores.make_due(reset_id)

    assert stores.resets.claim(reset_id) is None
    assert stores.status(reset_id) is Status.UNKNOWN


def test_what_was_held_expires_in_doubt(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.doubt(reset_id)
    stores.resets.claim(reset_id)
    stores.end_in(reset_id, -0.001)
    stores.make_due(reset_id)

    stores.resets.claim(reset_id)

    assert (stores.status(reset_id), stores.reason(reset_id)) == (Status.EXPIRED, "in_doubt")


def test_a_superseded_doubt_is_held(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.record()

    assert stores.resets.claim(reset_id) is None
    assert stores.status(reset_id) is Status.UNKNOWN
    assert stores.due_at(reset_id) == int(stores.field(reset_id, "x"))


def test_a_doubt_that_failed_since_is_cancelled_when_superseded(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.retry(reset_id)
    stores.record()

    assert stores.resets.claim(reset_id) is None
    assert (stores.status(reset_id), stores.reason(reset_id)) == (Status.CANCELLED, "superseded")


def test_a_reset_whose_code_is_void_is_cancelled(stores):
    reset_id = stores.record(cooldown_seconds=3600)
    stores.set_field(reset_id, "v", "voided_by_operator")

    assert stores.resets.claim(reset_id) is None

    assert (stores.status(reset_id), stores.reason(reset_id)) == (
        Status.CANCELLED,
        "code_voided_by_operator",
    )
    assert stores.record(cooldown_seconds=3600)


def test_a_doubt_whose_code_is_void_is_held(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.set_field(reset_id, "v", "voided_by_operator")

    assert stores.resets.claim(reset_id) is None
    assert stores.status(reset_id) is Status.UNKNOWN


def test_what_is_too_late_to_start_waits_for_its_deadline(stores):
    reset_id = stores.record()
    stores.end_in(reset_id, MARGIN_SECONDS - 1)

    assert stores.resets.claim(reset_id) is None

    assert stores.status(reset_id) is Status.QUEUED
    assert stores.due_at(reset_id) == int(stores.field(reset_id, "x"))


def test_a_doubt_is_looked_at_even_when_nothing_may_be_sent_any_more(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.end_in(reset_id, MARGIN_SECONDS - 1)

    claim = stores.resets.claim(reset_id)

    assert claim.is_doubtful
    with pytest.raises(TooLateError):
        stores.mark_sending(claim)


def test_sending_opens_an_attempt(stores):
    reset_id = stores.record()

    claim = stores.resets.claim(reset_id)
    number = stores.mark_sending(claim, "twilio")

    reset = stores.resets.find(reset_id)
    assert number == 1
    assert (reset.status, reset.recipient_digest) == (Status.SENDING, "d1")
    assert (reset.attempts[0].provider, reset.attempts[0].outcome) == ("twilio", None)


def test_a_code_about_to_expire_is_not_sent(stores):
    reset_id = stores.record()
    claim = stores.resets.claim(reset_id)
    stores.end_in(reset_id, MARGIN_SECONDS - 1)

    with pytest.raises(TooLateError):
        stores.mark_sending(claim)

    assert stores.status(reset_id) is Status.QUEUED


def test_a_code_voided_since_the_claim_is_not_sent(stores):
    reset_id = stores.record()
    claim = stores.resets.claim(reset_id)
    stores.set_field(reset_id, "v", "voided_by_operator")

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)


def test_a_doubt_superseded_since_the_claim_is_not_sent_again(stores):
    reset_id = stores.record()
    stores.doubt(reset_id)
    claim = stores.resets.claim(reset_id)
    stores.record()

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)


def test_a_final_reset_is_not_sent(stores):
    reset_id = stores.record()
    claim = stores.attempt(reset_id)

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)


def test_one_claim_makes_one_attempt(stores):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)

    assert len(stores.resets.find(reset_id).attempts) == 1


@pytest.mark.parametrize("last", ["12", ""])
def test_the_version_of_the_texts_is_that_of_the_last_attempt(stores, last):
    reset_id = stores.record()
    for version in ("11", last):
        claim, fields = stores.resets.claim(reset_id), {"provider": "p", "recipient_digest": "d"}
        stores.resets.mark_sending(claim, **fields, text_version=version, switch=("q", "paused"))
        stores.resets.finish(claim, Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT))
        stores.make_due(reset_id)

    reset = stores.resets.find(reset_id)
    assert reset.text_version == (last or None)
    assert reset.events[-1].detail == "instead of q: paused"


def test_a_claim_that_a_failover_forgot_does_not_end_the_next_one(stores):
    reset_id = stores.record()
    name = keys.reset(reset_id)
    before = stores.client.hgetall(name)
    forgotten = stores.resets.claim(reset_id)
    stores.client.delete(name)
    stores.client.hset(name, mapping=before)  # as it stands on the new primary
    stores.make_due(reset_id)
    claim = stores.claim_sending(reset_id)

    given_back = Finish(status=Status.QUEUED, reason="store_unavailable", delay_seconds=0)
    assert not stores.resets.finish(forgotten, given_back)

    done = Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="p1")
    assert stores.resets.finish(claim, done)
    assert stores.status(reset_id) is Status.ACCEPTED
