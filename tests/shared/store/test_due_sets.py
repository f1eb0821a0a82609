"""The sweepers' and the operators' view of what is due, and who is there to send it."""

from __future__ import annotations

import pytest

from shared.models import Channel, Queue
from shared.store import keys
from shared.store.due_sets import WORKER_SEEN_SECONDS
from tests.support.store_builders import stores_of

pytestmark = pytest.mark.topology


@pytest.fixture
def stores(client):
    return stores_of(client)


def set_due(stores, reset_id, seconds_from_now, queue=Queue.URGENT):
    score = int(stores.now_ms() + seconds_from_now * 1000)
    stores.client.zadd(keys.due(keys.tag_of(reset_id), queue), {reset_id: score})


def test_an_empty_house_has_nothing_due(stores):
    view = stores.dues.look(Queue.URGENT, most=10)

    assert (view.due, view.waiting, view.oldest_age_seconds, view.resets) == (0, 0, 0.0, ())


def test_what_is_due_is_told_oldest_first(stores):
    newer, older = stores.record(channel=Channel.EMAIL), stores.record(channel=Channel.SMS)
    set_due(stores, newer, -1)
    set_due(stores, older, -2)

    view = stores.dues.look(Queue.URGENT, most=9)

    assert view.resets == ((older, Channel.SMS), (newer, Channel.EMAIL))


def test_resets_of_many_shards_are_all_told_with_their_channel(stores):
    expected = {
        stores.record(f"user-{n}", channel=Channel.SMS if n % 2 else Channel.EMAIL): n % 2
        for n in range(40)
    }

    view = stores.dues.look(Queue.URGENT, most=40)

    assert {i: int(c is Channel.SMS) for i, c in view.resets} == expected
    assert len({keys.tag_of(i) for i in expected}) > 4


def test_the_grace_leaves_out_what_is_due_just_now(stores):
    old, new = stores.record("ada"), stores.record("grace")
    set_due(stores, old, -1)
    set_due(stores, new, -0.01)

    view = stores.dues.look(Queue.URGENT, grace_seconds=0.5, most=9)

    assert [i for i, _ in view.resets] == [old]
    assert (view.due, view.waiting) == (1, 2)


def test_at_most_so_many_are_told_of_a_shard(stores):
    ids = [stores.record(channel=channel) for channel in Channel]
    for age, reset_id in enumerate(ids):
        set_due(stores, reset_id, -10 - age)

    view = stores.dues.look(Queue.URGENT, most=1)

    assert [i for i, _ in view.resets] == [ids[1]]
    assert view.due == 2


def test_the_queues_are_told_apart(stores):
    bulk = stores.record(queue=Queue.BULK)

    assert stores.dues.look(Queue.URGENT, most=9).waiting == 0
    assert [i for i, _ in stores.dues.look(Queue.BULK, most=9).resets] == [bulk]


def test_the_oldest_age_is_that_of_the_longest_overdue(stores):
    for name, age in (("ada", 5), ("grace", 65), ("alan", 1)):
        set_due(stores, stores.record(name), -age)

    assert stores.dues.look(Queue.URGENT).oldest_age_seconds == pytest.approx(65, abs=20)


def test_what_is_due_later_has_no_age(stores):
    set_due(stores, stores.record(), 60)

    view = stores.dues.look(Queue.URGENT, most=9)

    assert (view.due, view.waiting, view.oldest_age_seconds) == (0, 1, 0.0)


def test_a_worker_that_said_so_is_seen(stores):
    stores.dues.heartbeat("urgent,bulk host-1")
    stores.dues.heartbeat("bulk host-2")

    assert stores.dues.workers_seen(Queue.URGENT) == ["urgent,bulk host-1"]
    assert len(stores.dues.workers_seen(Queue.BULK)) == 2


def test_a_worker_that_fell_silent_is_seen_no_more(stores):
    stores.dues.heartbeat("urgent host-1")
    silent_since = stores.now_ms() - WORKER_SEEN_SECONDS * 1000 - 1
    stores.client.zadd(keys.WORKERS, {"urgent host-1": silent_since})

    assert stores.dues.workers_seen(Queue.URGENT) == []


def test_a_worker_that_said_goodbye_is_seen_no_more(stores):
    stores.dues.heartbeat("urgent host-1")

    stores.dues.deregister("urgent host-1")

    assert stores.dues.workers_seen(Queue.URGENT) == []


def test_workers_long_gone_are_forgotten(stores):
    stores.client.zadd(keys.WORKERS, {"urgent old": 1})

    stores.dues.heartbeat("urgent new")

    assert stores.client.zrange(keys.WORKERS, 0, -1) == ["urgent new"]
