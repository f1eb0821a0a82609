"""Many resets claimed, marked and finished by few commands: each fares as it would alone."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from shared.errors import StoreUnavailableError
from shared.models import DUE_QUEUES, Outcome, Queue, Status
from shared.store import keys
from shared.store.connection import connect
from shared.store.resets import MAX_CLAIMS, ClaimOverError, Finish, TooLateError
from shared.store.scripts import MAX_TOGETHER
from tests.support.store_builders import fresh_user, stores_of
from tests.support.waiting import HANG_SECONDS

ACCEPTED = Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="p1")
TIMED = re.compile("^s:.*:(b[0-9]+|ms)$")  # counts how long it took
MORE_THAN_A_CHUNK = MAX_TOGETHER * 3


@pytest.fixture
def stores(client):
    return stores_of(client)


def record(stores, number, **fields):
    return [stores.record(fresh_user(), queue=Queue.BULK, **fields) for _ in range(number)]


def marks(claims):
    return [(claim, f"digest of {claim.reset.reset_id}", None) for claim in claims]


def test_all_that_are_due_are_claimed(stores):
    ids = record(stores, 20)

    claims = stores.resets.claim_many(ids)

    assert [claim.reset.reset_id for claim in claims] == ids
    assert {claim.fence // 10_000 for claim in claims} == {1}
    assert stores.resets.claim_many(ids) == []


def test_more_than_one_command_takes_from_the_same_shard(stores):
    ids = [stores.record("ada", queue=Queue.BULK) for _ in range(MORE_THAN_A_CHUNK)]
    due = [reset_id for reset_id in ids if stores.due_at(reset_id, Queue.BULK) is not None]

    claims = stores.resets.claim_many(ids)

    assert [claim.reset.reset_id for claim in claims] == due == ids[-1:]  # the newest overtook


def test_calls_of_many_shards_share_commands_where_one_server_holds_all(real_client):
    stores = stores_of(real_client)
    ids = record(stores, 3 * MAX_TOGETHER)
    stores.resets.claim_many([])
    real_client.config_resetstat()

    claims = stores.resets.claim_many(ids)

    stats = real_client.info("commandstats")
    assert [claim.reset.reset_id for claim in claims] == ids
    assert (
        sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
        <= 6
    )


def test_a_claim_says_the_same_as_one_alone(stores):
    first, second = record(stores, 2)

    (together,) = stores.resets.claim_many([first])
    alone = stores.resets.claim(second)

    assert together.is_doubtful == alone.is_doubtful
    assert together.reset.status == alone.reset.status
    assert together.lease_ends == pytest.approx(alone.lease_ends, abs=5)
    assert stores.due_at(first, Queue.BULK) == pytest.approx(
        stores.due_at(second, Queue.BULK), abs=5000
    )


def test_those_that_are_over_are_left_out(stores):
    used, late, gone, good = record(stores, 4)
    stores.client.hset(keys.reset(used), "v", "used")
    stores.end_in(late, -1)

    claims = stores.resets.claim_many([used, late, good, "0none"])

    assert [claim.reset.reset_id for claim in claims] == [good]
    assert [stores.status(each) for each in (used, late)] == [Status.CANCELLED, Status.EXPIRED]
    assert stores.status(gone) is Status.QUEUED


def test_a_poisonous_one_ends_alone(stores):
    poison, good = record(stores, 2)
    for _ in range(MAX_CLAIMS):
        stores.resets.claim(poison)
        stores.make_due(poison, Queue.BULK)

    claims = stores.resets.claim_many([poison, good])

    assert [claim.reset.reset_id for claim in claims] == [good]
    assert stores.reason(poison) == "poison"


def test_marks_tell_who_may_go_out(stores):
    claims = stores.resets.claim_many(record(stores, 4))
    stores.end_in(claims[1].reset.reset_id, 1)
    stores.make_due(claims[2].reset.reset_id, Queue.BULK)
    stores.resets.claim(claims[2].reset.reset_id)  # somebody else has it now

    told = stores.resets.mark_sending_many(marks(claims), provider="p1")

    assert [type(each) for each in told] == [int, TooLateError, ClaimOverError, int]
    first = stores.resets.find(claims[0].reset.reset_id)
    assert first.status is Status.SENDING
    assert first.recipient_digest == f"digest of {first.reset_id}"
    assert first.attempts[0].provider == "p1"


def test_a_switch_stands_in_the_timeline_of_those_who_have_one(stores):
    claims = stores.resets.claim_many(record(stores, 4))
    mixed = [(claim, "d", ("p0", "paused") if n % 2 else None) for n, claim in enumerate(claims)]

    stores.resets.mark_sending_many(mixed, provider="p1")

    told = [len(stores.resets.find(claim.reset.reset_id).events) for claim in claims]
    assert told == [0, 1, 0, 1]


def test_one_claim_makes_one_attempt(stores):
    claims = stores.resets.claim_many(record(stores, 2))
    stores.resets.mark_sending_many(marks(claims), provider="p1")

    again = stores.resets.mark_sending_many(marks(claims), provider="p1")

    assert [type(each) for each in again] == [ClaimOverError] * 2


def test_outcomes_are_noted_each_its_own(stores):
    claims = stores.resets.claim_many(record(stores, 3))
    stores.resets.mark_sending_many(marks(claims), provider="p1")
    failed = Finish(status=Status.FAILED, outcome=Outcome.PERMANENT, provider="p1", reason="no")
    later = Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT, delay_seconds=5)
    ends = list(zip(claims, (ACCEPTED, failed, later), strict=True))

    assert stores.resets.finish_many(ends) == [True] * 3
    assert stores.resets.finish_many(ends) == [True] * 3  # said twice
    assert [stores.status(claim.reset.reset_id) for claim in claims] == [
        Status.ACCEPTED,
        Status.FAILED,
        Status.RETRYING,
    ]
    assert stores.census() == stores.counted_now()


def test_one_outcome_is_noted_for_many_of_every_queue(stores):
    ids = record(stores, 3 * MAX_TOGETHER) + [stores.record(fresh_user()) for _ in range(3)]
    claims = stores.resets.claim_many(ids)
    stores.resets.mark_sending_many(marks(claims), provider="p1")

    noted = stores.resets.finish_many([(claim, ACCEPTED) for claim in claims])

    assert noted == [True] * len(ids)
    assert {stores.status(reset_id) for reset_id in ids} == {Status.ACCEPTED}
    assert not [i for i in ids for queue in DUE_QUEUES if stores.due_at(i, queue) is not None]
    assert stores.census() == stores.counted_now()


def test_many_count_as_much_as_the_same_number_one_by_one(stores):
    def totals_since(before):
        return {n: v for n, v in (stores.counters.totals() - before).items() if not TIMED.search(n)}

    before = stores.counters.totals()
    claims = stores.resets.claim_many(record(stores, MAX_TOGETHER + 5))
    stores.resets.mark_sending_many(marks(claims), provider="p1")
    stores.resets.finish_many([(claim, ACCEPTED) for claim in claims])
    together, between = totals_since(before), stores.counters.totals()

    for reset_id in record(stores, MAX_TOGETHER + 5):
        claim = stores.resets.claim(reset_id)
        stores.resets.mark_sending(claim, provider="p1", recipient_digest="d")
        stores.resets.finish(claim, ACCEPTED)

    assert together == totals_since(between)
    assert together["p:p1:accepted:n"] == together["out:bulk"] == MAX_TOGETHER + 5


def test_who_lost_the_claim_notes_nothing(stores):
    stale, fresh = stores.resets.claim_many(record(stores, 2))
    stores.make_due(stale.reset.reset_id, Queue.BULK)
    stores.resets.claim(stale.reset.reset_id)
    stores.resets.mark_sending_many(marks([fresh]), provider="p1")

    assert stores.resets.finish_many([(stale, ACCEPTED), (fresh, ACCEPTED)]) == [False, True]


@pytest.mark.real_server
def test_a_server_that_is_away_is_asked_once(own_server, tmp_path):
    server = own_server()
    with connect(f"unix://{tmp_path / 'own.sock'}", timeout_seconds=0.3) as client:
        stores = stores_of(client)
        ids = record(stores, 8)
        claims = stores.resets.claim_many(ids)
        server.kill()
        server.wait(HANG_SECONDS)

        told = stores.resets.mark_sending_many(marks(claims), provider="p1")

        assert [type(each) for each in told] == [StoreUnavailableError] * 8
        with pytest.raises(StoreUnavailableError):
            stores.resets.claim_many(ids)
        with pytest.raises(StoreUnavailableError):
            stores.resets.finish_many([(claim, ACCEPTED) for claim in claims])


def test_nobody_is_asked_about_nothing(stores):
    assert stores.resets.claim_many([]) == []
    assert stores.resets.mark_sending_many([], provider="p1") == []
    assert stores.resets.finish_many([]) == []


def test_what_all_scripts_share_reads_nobodys_arguments():
    prelude = (files("shared.store") / "lua" / "prelude.lua").read_text()
    code = [line.partition("--")[0] for line in prelude.splitlines()]

    assert not any("ARGV" in line or "KEYS" in line for line in code)
