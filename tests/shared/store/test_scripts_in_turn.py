"""Scripts in turn: gate, record and hint; in one trip on one node, in several on a cluster."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailableError, TooManyRequestsError
from shared.models import Queue
from shared.store import keys, scripts
from shared.store.limits import Limit, LimitStore, check_gate
from shared.store.scripts import Scripts
from tests.support.store_builders import stores_of

ONE_CALL = Limit("organisation", "acme", 1, 60)
HINT = ("reset/hint", (Queue.URGENT.value,), ("message", 2))


@pytest.fixture(params=[pytest.param("one node", marks=pytest.mark.one_server), "cluster"])
def stores(client, request):
    client.has_one_node = request.param == "one node"
    return stores_of(client)


def record_behind(stores, *limits, hint=HINT, **fields):
    new = stores.new(**fields)
    gate = LimitStore(stores.client).gate(
        limits, recipient_digest="ab", version=-1, reset_id=new.reset_id
    )
    passed, answer = stores.resets.record_behind(gate, new, hint)
    check_gate(passed)
    return stores.resets.read_recorded(new, answer)


def hints(stores):
    return stores.client.lrange(Queue.URGENT.value, 0, -1)


def test_what_the_gate_lets_pass_is_recorded_and_hinted_at(stores):
    recorded = record_behind(stores, ONE_CALL)

    assert stores.resets.find(recorded.reset_id).sequence == 1
    assert hints(stores) == ["message"]
    assert stores.client.get(ONE_CALL.key) == "1"


def test_what_the_gate_refuses_is_neither_recorded_nor_hinted_at(stores):
    record_behind(stores, ONE_CALL)

    with pytest.raises(TooManyRequestsError, match="organisation"):
        record_behind(stores, ONE_CALL, user_id="grace")

    assert len(hints(stores)) == 1
    assert stores.counted_now() == {"queued": 1}


def test_what_a_limit_of_the_user_refuses_is_not_hinted_at(stores):
    record_behind(stores, limit_per_hour=1)

    with pytest.raises(TooManyRequestsError, match="user_hour"):
        record_behind(stores, limit_per_hour=1)

    assert len(hints(stores)) == 1


def test_no_hint_is_added_where_enough_wait(stores):
    for number in range(4):
        record_behind(stores, user_id=f"u{number}")

    assert len(hints(stores)) == 2
    assert stores.counted_now() == {"queued": 4}


def test_a_queue_that_is_no_list_costs_a_hint_and_no_reset(stores):
    stores.client.set(Queue.URGENT.value, "x")

    assert record_behind(stores).is_new


class Reading(Scripts):
    """Scripts that count how often a clock was read."""

    number = 0

    def run(self, name, *call):
        self.number += name == "now"
        return super().run(name, *call)


@pytest.mark.one_server  # on a cluster each shard has its own
def test_a_clock_is_read_now_and_then_and_reckoned_between(client, monkeypatch):
    reading = Reading(client)
    first = reading.clock_us(keys.TAGS[0])
    assert reading.clock_us(keys.TAGS[1]) >= first
    assert reading.number == 1

    ours = scripts.monotonic()
    monkeypatch.setattr(scripts, "monotonic", lambda: ours + 5)
    assert reading.clock_us(keys.TAGS[0]) - first >= 5_000_000
    assert reading.number == 1

    monkeypatch.setattr(scripts, "monotonic", lambda: ours + scripts.CLOCK_SECONDS)
    assert reading.clock_us(keys.TAGS[0]) - first < 30_000_000
    assert reading.number == 2


def test_on_a_cluster_each_shard_is_asked_for_its_own_clock(client):
    client.has_one_node = False
    reading = Reading(client)

    for tag in (*keys.TAGS[:2], *keys.TAGS[:2]):
        reading.clock_us(tag)

    assert reading.number == 2


def test_what_comes_late_by_a_clock_that_was_set_is_refused_once(stores):
    stores.resets._scripts.clocks.update(dict.fromkeys(["", *keys.TAGS], (0.0, 1e9)))

    with pytest.raises(StoreUnavailableError):
        record_behind(stores)

    assert record_behind(stores).is_new
    assert len(hints(stores)) == 1
