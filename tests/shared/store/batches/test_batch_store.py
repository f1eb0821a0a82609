"""A batch's own record: begun once, changed by people, fed by one worker at a time."""

from __future__ import annotations

import time

import pytest

from shared.store import keys
from shared.store.batches import BatchAction, BatchCursor, BatchState
from tests.support.batch_builders import a_batch
from tests.support.builders import some_services

STATES = {
    # what was done before → the state that is left
    "planning": (),
    "planned": ("plan",),
    "running": ("plan", BatchAction.START),
    "paused": ("plan", BatchAction.START, BatchAction.PAUSE),
    "cancelled": ("plan", BatchAction.CANCEL),
    "finished": ("plan", BatchAction.START, "finish"),
}
ANSWERS = {
    (BatchAction.START, "planned"): ("changed", "running"),
    (BatchAction.START, "running"): ("same", "running"),
    (BatchAction.START, "paused"): ("same", "paused"),
    (BatchAction.START, "finished"): ("same", "finished"),
    (BatchAction.PAUSE, "running"): ("changed", "paused"),
    (BatchAction.PAUSE, "paused"): ("same", "paused"),
    (BatchAction.RESUME, "paused"): ("changed", "running"),
    (BatchAction.RESUME, "running"): ("same", "running"),
    (BatchAction.CANCEL, "planning"): ("changed", "cancelled"),
    (BatchAction.CANCEL, "planned"): ("changed", "cancelled"),
    (BatchAction.CANCEL, "running"): ("changed", "cancelled"),
    (BatchAction.CANCEL, "paused"): ("changed", "cancelled"),
    (BatchAction.CANCEL, "cancelled"): ("same", "cancelled"),
}


@pytest.fixture
def services(client):
    return some_services(client)


def change(services, verb, **fields):
    batch = services.batches.find("b1")
    return services.batches.change(batch, verb, **fields)


def brought_to(services, state):
    a_batch(services, "ada", state=BatchState.PLANNING)
    for step in STATES[state]:
        if isinstance(step, BatchAction):
            change(services, step)
            continue
        fence = services.batches.take_lease("b1")
        if step == "plan":
            assert services.batches.advance("b1", fence, BatchCursor(1, 0), {}, is_end=True)
        assert services.batches.release_lease("b1", fence, is_finished=True) is (step == "finish")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", BatchAction)
def test_a_verb_does_what_the_state_allows(services, verb, state):
    brought_to(services, state)
    word, after = ANSWERS.get((verb, state), ("refused", state))

    answer = change(services, verb)

    assert answer == (word, state)
    assert services.batches.find("b1").state == after


def test_a_batch_is_begun_once(services):
    a_batch(services, "ada")
    first = services.batches.find("b1")

    a_batch(services, "bob", "eve")

    assert services.batches.find("b1") == first


def test_another_mark_under_the_same_id_is_another_batch(services):
    batch = a_batch(services, "ada")

    a_batch(services, "bob", mark="other")

    assert services.batches.find("b1") == batch


def test_a_batch_is_fed_by_one_worker_at_a_time(services):
    a_batch(services, "ada")

    first, second = services.batches.take_lease("b1"), services.batches.take_lease("b1")
    services.batches.release_lease("b1", first)

    assert (first // 10_000, second) == (1, 0)
    assert services.batches.take_lease("b1") // 10_000 == 2


def test_a_worker_that_lost_its_lease_moves_nothing(services):
    a_batch(services, "ada")
    stale = services.batches.take_lease("b1")
    services.batches.release_lease("b1", stale)
    services.batches.take_lease("b1")

    moved = services.batches.advance("b1", stale, BatchCursor(1, 0), {"q": 1})

    assert not moved
    assert services.batches.grant("b1", stale, 10) == -1
    assert (services.batches.find("b1").recorded, services.batches.find("b1").next_list) == (0, 0)


def test_nothing_is_granted_to_a_paused_batch(services):
    a_batch(services, "ada")
    fence = services.batches.take_lease("b1")

    change(services, BatchAction.PAUSE)

    assert services.batches.grant("b1", fence, 10) == -1
    assert services.batches.take_lease("b1") == 0


def test_without_a_pace_all_is_granted(services):
    a_batch(services, "ada")

    assert services.batches.grant("b1", services.batches.take_lease("b1"), 100) == 100


def test_a_pace_grants_what_its_seconds_allow(services):
    a_batch(services, "ada", rate_per_second=50.0)
    began = time.monotonic()
    fence = services.batches.take_lease("b1")

    at_first = services.batches.grant("b1", fence, 100)
    first_took = time.monotonic() - began
    time.sleep(0.2)
    later = services.batches.grant("b1", fence, 100)
    took = time.monotonic() - began

    assert at_first <= 50 * first_took
    assert 9 <= at_first + later <= 50 * took + 1


def test_a_slow_pace_still_moves(services):
    a_batch(services, "ada", rate_per_second=5.0)
    fence = services.batches.take_lease("b1")
    services.batches.grant("b1", fence, 1)
    time.sleep(0.25)

    assert services.batches.grant("b1", fence, 1) == 1


def test_those_who_get_nothing_cost_no_pace(services):
    a_batch(services, "ada", rate_per_second=0.001)
    fence = services.batches.take_lease("b1")
    services.batches.grant("b1", fence, 1)

    services.batches.advance("b1", fence, BatchCursor(0, 1), {"k:inactive": 1}, refund=1)

    assert services.batches.grant("b1", fence, 1) == 1


def test_only_batches_with_work_are_fed(services):
    a_batch(services, "ada")
    a_batch(services, "ada", batch_id="b2")
    a_batch(services, "ada", batch_id="b3")
    a_batch(services, "ada", batch_id="b4")
    services.batches.take_lease("b2")
    services.batches.change(services.batches.find("b3"), BatchAction.CANCEL)
    services.batches.change(services.batches.find("b4"), BatchAction.PAUSE)

    assert services.batches.to_feed() == ["b1"]


def test_what_is_kept_of_a_batch_ends_some_day(services):
    batch = a_batch(services, "ada")
    services.batch_lists.keep(batch.list_id, batch.lists, batch.lifetime_seconds)
    services.batch_lists.note_skips("b1", 0, {0: "inactive"}, batch.lifetime_seconds)
    services.batch_lists.repeated("b1", 0, [(0, "ada")], batch.lifetime_seconds)

    lives = [
        services.batches._client.ttl(key)
        for pattern in ("kt:list:*", "kt:skips:*", "kt:seen:*", keys.batch("*"))
        for key in services.batches._client.keys(pattern)
    ]

    assert len(lives) == 4
    assert all(900 < life <= 1000 for life in lives)
