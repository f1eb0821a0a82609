"""What was counted lately: the counters now, less a sample."""

from __future__ import annotations

import orjson
import pytest

from shared.models import Queue, Status
from shared.store import keys
from shared.store.admin.statistics import MAX_SAMPLES, SampleStore
from tests.support.store_builders import stores_of


@pytest.fixture
def stores(client):
    return stores_of(client)


@pytest.fixture
def samples(client, stores):
    return SampleStore(client, stores.counters)


def age(client, *seconds):
    """Let the samples, newest first, be so old."""
    now_ms = stores_of(client).now_ms()
    for place, each in enumerate(seconds):
        _, counted = orjson.loads(client.lindex(keys.SAMPLES, place))
        told = orjson.dumps([now_ms - each * 1000, counted])
        client.lset(keys.SAMPLES, place, told)


def take(client, samples):
    client.delete(keys.SAMPLED)
    assert samples.take()


def test_one_worker_takes_a_sample_for_all(samples):
    assert samples.take()
    assert not samples.take()


def test_resets_that_came_and_went_are_counted_by_the_minute(client, stores, samples):
    stores.attempt(stores.record())
    take(client, samples)
    age(client, 120)
    for number in range(6):
        stores.record(f"u{number}")
    stores.attempt(stores.record("v"))
    stores.record("w", queue=Queue.BULK)

    (recent,) = samples.recent(60)

    assert recent.per_minute("in:urgent") == pytest.approx(3.5, rel=0.2)
    assert recent.per_minute("out:urgent") == pytest.approx(0.5, rel=0.2)
    assert recent.per_minute("in:bulk") == pytest.approx(0.5, rel=0.2)
    assert recent.per_minute("out:bulk") == 0


def test_a_receipt_after_the_end_is_no_second_way_out(client, stores, samples):
    take(client, samples)
    stores.attempt(stores.record(), status=Status.ACCEPTED)
    age(client, 60)

    (recent,) = samples.recent(60)

    assert recent.counts["out:urgent"] == 1


def test_each_span_has_the_youngest_sample_that_is_old_enough(client, stores, samples):
    for _ in range(3):
        take(client, samples)
        stores.record()
    age(client, 10, 70, 310)

    minute, five, long = samples.recent(60, 300, 9999)

    assert (minute.counts["in:urgent"], five.counts["in:urgent"]) == (2, 3)
    assert long.seconds == pytest.approx(310, abs=30)


def test_without_a_sample_nobody_knows(samples):
    assert samples.recent(60, 300) == [None, None]


def test_few_samples_are_kept_and_not_for_ever(client, samples):
    for _ in range(MAX_SAMPLES + 3):
        take(client, samples)

    assert client.llen(keys.SAMPLES) == MAX_SAMPLES
    assert 0 < client.ttl(keys.SAMPLES) <= 370
