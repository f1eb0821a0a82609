"""RECORD: limits, sequence, record, due set and live codes, in one step."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailableError, TooManyRequestsError
from shared.models import Channel, Kind, Outcome, Queue, Status
from shared.store import keys
from shared.store.connection import connect
from shared.store.resets import Finish
from tests.support.store_builders import DAY_MS, KEEP_SECONDS, LIFETIME_SECONDS, USER, stores_of

pytestmark = pytest.mark.topology

HOUR_MS = 3_600_000


@pytest.fixture
def stores(client):
    return stores_of(client)


def limited(stores, **limits):
    with pytest.raises(TooManyRequestsError) as caught:
        stores.record(**limits)
    return caught.value.limit, caught.value.retry_after_seconds


def counted_requests(stores):
    return keys.requests(*stores.place())


def test_a_recorded_reset_is_due_at_once(stores):
    reset_id = stores.record(extra={"rq": "r1", "tp": "https://x", "b": "b1"})

    reset = stores.resets.find(reset_id)
    assert (reset.status, reset.queue, reset.sequence) == (Status.QUEUED, Queue.URGENT, 1)
    assert (reset.request_id, reset.url_template, reset.batch_id) == ("r1", "https://x", "b1")
    assert stores.due_at(reset_id) <= stores.now_ms()
    assert (reset.deadline_at - reset.created_at).total_seconds() == pytest.approx(
        LIFETIME_SECONDS, abs=0.002
    )


def test_recording_the_same_id_again_changes_nothing(stores):
    new = stores.new(cooldown_seconds=60, limit_per_hour=1)
    first = stores.resets.record(new)
    before = stores.client.hgetall(keys.reset(new.reset_id)), stores.user()

    second = stores.resets.record(new)

    assert (first.is_new, second.is_new) == (True, False)
    assert (second.created_at, second.deadline_at, second.sequence, second.org_id) == (
        first.created_at,
        first.deadline_at,
        first.sequence,
        first.org_id,
    )
    assert (stores.client.hgetall(keys.reset(new.reset_id)), stores.user()) == before
    assert stores.counted_now() == {"queued": 1}


def test_a_sequence_counts_the_events_of_one_user_only(stores):
    numbers = [stores.resets.record(stores.new()).sequence for _ in range(3)]

    assert numbers == [1, 2, 3]
    assert stores.resets.record(stores.new("grace")).sequence == 1


def test_a_refused_reset_leaves_nothing_behind(stores):
    stores.record(cooldown_seconds=60)
    before = {key: stores.client.type(key) for key in stores.client.scan_iter()}, stores.user()

    limited(stores, cooldown_seconds=60)

    assert ({k: stores.client.type(k) for k in stores.client.scan_iter()}, stores.user()) == before
    assert stores.counted_now() == {"queued": 1}


def test_the_cooldown_says_exactly_how_long_to_wait(stores):
    stores.record(cooldown_seconds=60)
    stores.client.hset(keys.user(*stores.place()), "cd", int(stores.now_ms()) + 41_500)

    assert limited(stores, cooldown_seconds=60) == ("cooldown", 42)


def test_a_cooldown_that_is_over_limits_nothing(stores):
    stores.record(cooldown_seconds=60)
    stores.client.hset(keys.user(*stores.place()), "cd", int(stores.now_ms()))

    assert stores.record(cooldown_seconds=60)


@pytest.mark.parametrize(
    ("limits", "span_ms", "name"),
    [({"limit_per_hour": 2}, HOUR_MS, "user_hour"), ({"limit_per_day": 2}, DAY_MS, "user_day")],
    ids=["hour", "day"],
)
def test_a_full_window_says_when_its_oldest_leaves(stores, limits, span_ms, name):
    first, second = stores.record(**limits), stores.record(**limits)
    now = int(stores.now_ms())
    ages = {first: now - span_ms + 90_500, second: now - 1000}
    stores.client.zadd(counted_requests(stores), ages)

    assert limited(stores, **limits) == (name, 91)


def test_a_window_lets_through_once_its_oldest_left(stores):
    first, second = stores.record(limit_per_hour=2), stores.record(limit_per_hour=2)
    now = int(stores.now_ms())
    stores.client.zadd(counted_requests(stores), {first: now - HOUR_MS, second: now - 1000})

    assert stores.record(limit_per_hour=2)


def test_a_lowered_limit_waits_until_enough_have_left(stores):
    ids = [stores.record(limit_per_hour=9) for _ in range(4)]
    now = int(stores.now_ms())
    ages = {i: now - HOUR_MS + (n + 1) * 10_000 for n, i in enumerate(ids)}
    stores.client.zadd(counted_requests(stores), ages)

    assert limited(stores, limit_per_hour=2) == ("user_hour", 30)


def test_of_several_limits_the_one_that_lasts_longest_is_named(stores):
    limits = {"cooldown_seconds": 60, "limit_per_hour": 1, "limit_per_day": 5}
    stores.record(**limits)

    name, seconds = limited(stores, **limits)

    assert (name, seconds) == ("user_hour", 3600)


def test_limits_of_zero_are_off(stores):
    assert len({stores.record() for _ in range(12)}) == 12


@pytest.mark.parametrize("status", [Status.FAILED, Status.SUPPRESSED, Status.CANCELLED])
def test_the_cooldown_is_given_back_when_the_send_failed_for_good(stores, status):
    reset_id = stores.record(cooldown_seconds=60)
    claim = stores.claim_sending(reset_id)

    stores.resets.finish(claim, Finish(status=status, outcome=Outcome.PERMANENT, provider="p1"))

    assert stores.record(cooldown_seconds=60)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.ACCEPTED, Status.ACCEPTED),
        (Outcome.TRANSIENT, Status.RETRYING),
        (Outcome.DOUBT, Status.UNKNOWN),
    ],
)
def test_the_cooldown_stays_while_the_send_did_not_fail_for_good(stores, outcome, status):
    reset_id = stores.record(cooldown_seconds=60)

    stores.attempt(reset_id, outcome, status)

    assert limited(stores, cooldown_seconds=60)[0] == "cooldown"


def test_a_failure_gives_back_only_its_own_cooldown(stores):
    older = stores.record()
    claim = stores.claim_sending(older)
    stores.record(channel=Channel.SMS, cooldown_seconds=60)

    stores.resets.finish(claim, Finish(status=Status.FAILED, outcome=Outcome.PERMANENT))

    assert limited(stores, cooldown_seconds=60)[0] == "cooldown"


def test_a_reset_that_expired_unsent_gives_its_cooldown_back(stores):
    reset_id = stores.record(cooldown_seconds=7200)
    stores.end_in(reset_id, -1)

    stores.resets.claim(reset_id)

    assert stores.record(cooldown_seconds=60)


def test_a_newer_reset_cancels_an_older_one_not_handed_over(stores):
    older = stores.record()

    newer = stores.record()

    assert (stores.status(older), stores.reason(older)) == (Status.CANCELLED, "superseded")
    assert stores.resets.find(older).is_superseded
    assert stores.due_at(older) is None
    assert stores.live() == {newer}


def test_a_newer_reset_cancels_one_that_waits_for_another_attempt(stores):
    older = stores.record()
    stores.retry(older)

    stores.record()

    assert stores.status(older) is Status.CANCELLED


def test_a_cancelled_claim_may_not_send(stores):
    older = stores.record()
    claim = stores.resets.claim(older)

    stores.record()

    assert stores.resets.finish(claim, Finish(status=Status.ACCEPTED)) is False
    assert stores.status(older) is Status.CANCELLED


def test_a_newer_reset_on_another_channel_cancels_nothing(stores):
    older = stores.record(channel=Channel.EMAIL)

    stores.record(channel=Channel.SMS)

    assert stores.status(older) is Status.QUEUED
    assert not stores.resets.find(older).is_superseded


@pytest.mark.parametrize("state", ["sending", "doubt", "accepted"])
def test_a_newer_reset_only_marks_one_that_may_have_gone_out(stores, state):
    older = stores.record()
    step = {"sending": stores.claim_sending, "doubt": stores.doubt, "accepted": stores.attempt}
    step[state](older)
    before = stores.status(older)

    newer = stores.record()

    assert stores.status(older) is before
    assert stores.resets.find(older).is_superseded
    assert stores.live() == {older, newer}


def test_a_superseded_reset_is_not_sent_again_after_its_attempt_failed(stores):
    older = stores.record()
    claim = stores.claim_sending(older)
    newer = stores.record()

    stores.resets.finish(claim, Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT))

    assert (stores.status(older), stores.reason(older)) == (Status.CANCELLED, "superseded")
    assert stores.due_at(older) is None
    assert stores.live() == {newer}


def test_three_codes_live_and_the_oldest_gives_way(stores):
    ids = [stores.record() for _ in range(1)]
    for _ in range(3):
        stores.attempt(ids[-1])
        ids.append(stores.record())

    assert stores.live() == set(ids[1:])
    assert stores.field(ids[0], "v") == "displaced"


def test_the_oldest_gives_way_whenever_it_ends(stores):
    oldest = stores.record(lifetime_seconds=7200)
    others = [stores.record(channel=Channel.SMS, kind=Kind.RETURNED) for _ in range(3)]

    assert stores.live() == set(others)
    assert stores.field(oldest, "v") == "displaced"


def test_an_ended_code_makes_room(stores):
    old = stores.record()
    stores.attempt(old)
    stores.end_in(old, -1)
    others = [stores.record(kind=Kind.RETURNED) for _ in range(3)]

    assert stores.live() == set(others)
    assert stores.field(old, "v") is None


def test_a_code_that_works_stays_known_among_many_that_do_not(stores):
    kept = stores.record()
    stores.attempt(kept)
    for _ in range(14):
        last = stores.record(channel=Channel.SMS)

    known = {code.reset_id for code in stores.codes.list_known(USER) if code.is_live}

    assert known == {kept, last}


def test_a_short_life_does_not_shorten_what_is_known_of_a_longer_one(stores):
    long = stores.record(lifetime_seconds=7 * 86400)
    stores.attempt(long)

    short = stores.record(channel=Channel.SMS, lifetime_seconds=600)

    assert stores.live() == {long, short}
    assert stores.client.pttl(keys.user(*stores.place())) == -1


def test_a_returned_code_is_live_but_never_due(stores):
    reset_id = stores.record(kind=Kind.RETURNED)

    assert (stores.status(reset_id), stores.reason(reset_id)) == (
        Status.ACCEPTED,
        "code_returned",
    )
    assert stores.due_at(reset_id) is None
    assert stores.live() == {reset_id}


def test_a_returned_code_overtakes_nothing(stores):
    waiting = stores.record()

    stores.record(kind=Kind.RETURNED)

    assert stores.status(waiting) is Status.QUEUED


def test_a_batch_has_a_due_set_of_its_own(stores):
    reset_id = stores.record(queue=Queue.BULK)

    assert stores.due_at(reset_id, Queue.BULK) is not None
    assert stores.due_at(reset_id, Queue.URGENT) is None
    claim = stores.resets.claim(reset_id)
    stores.mark_sending(claim)
    stores.resets.finish(claim, Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED))
    assert stores.due_at(reset_id, Queue.BULK) is None


def test_a_person_overtakes_their_place_in_a_batch(stores):
    older = stores.record(queue=Queue.BULK)

    stores.record()

    assert stores.status(older) is Status.CANCELLED
    assert stores.due_at(older, Queue.BULK) is None


def test_a_record_lives_until_it_is_final_and_then_for_its_lifetime(stores):
    reset_id = stores.record()
    assert stores.client.pttl(keys.reset(reset_id)) == -1

    stores.attempt(reset_id)

    expected = (LIFETIME_SECONDS + KEEP_SECONDS) * 1000
    assert stores.client.pttl(keys.reset(reset_id)) == pytest.approx(expected, abs=10_000)


def test_nothing_of_the_user_stands_outside_the_record(stores):
    stores.record("mira@example.org")

    assert not [key for key in stores.client.scan_iter() if "mira" in key]


def test_a_store_that_is_away_is_said_to_be(tmp_path):
    away = stores_of(connect(f"unix://{tmp_path}/nobody"))

    with pytest.raises(StoreUnavailableError):
        away.record()


def test_whatever_is_no_id_is_no_reset(stores):
    assert stores.resets.find("not an id") is None
    assert stores.resets.find("") is None


def test_the_last_resets_of_a_user_are_listed_newest_first(stores):
    ids = [stores.record() for _ in range(12)]

    listed = [reset.reset_id for reset in stores.resets.find_of_user(USER)]
    older = [reset.reset_id for reset in stores.resets.find_of_user(USER, with_older=True)][10:]

    assert listed == ids[:1:-1]
    assert sorted(older) == sorted(ids[:2])


def test_a_reset_that_is_no_longer_kept_is_not_listed_after_the_next(stores):
    gone = stores.record()
    stores.client.delete(keys.reset(gone))
    assert stores.resets.find_of_user(USER) == []

    kept = stores.record()

    assert gone not in stores.user()
    assert [reset.reset_id for reset in stores.resets.find_of_user(USER)] == [kept]


def test_a_code_that_was_never_sent_does_not_work(stores):
    first = stores.record()
    stores.attempt(first, Outcome.PERMANENT, Status.FAILED)

    assert stores.live() == set()
    assert stores.take(first) is None
    assert [code.end for code in stores.codes.list_known(USER)] == [None]
    assert stores.codes.end_code(USER, first, "voided") == Status.FAILED
