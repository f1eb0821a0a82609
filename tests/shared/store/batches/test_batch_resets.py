"""Resets of a batch: an id of their own, nothing for whoever moved on, counted where they end."""

from __future__ import annotations

import pytest

from shared.models import Channel, Outcome, Queue, Status
from shared.store import keys
from shared.store.batches.resets import Candidate
from tests.support.builders import some_services
from tests.support.store_builders import fresh_user, stores_of

BATCH = "b1"


@pytest.fixture
def stores(client):
    return stores_of(client)


@pytest.fixture
def services(client):
    return some_services(client)


def now_ms(stores):
    return int(stores.now_ms())


def new(stores, services, user_id="ada", **fields):
    values = {
        "reset_id": services.batch_resets.reset_id(user_id, BATCH),
        "queue": Queue.BULK,
        "since_ms": now_ms(stores),
        "extra": {"b": BATCH},
    }
    return stores.new(user_id, **values | fields)


def standing(stores, services, user_id="ada", channel=Channel.EMAIL, since_ms=None):
    since = since_ms or now_ms(stores)
    reset_id = services.batch_resets.reset_id(user_id, BATCH)
    candidate = Candidate(user_id, reset_id, since)
    (told,) = services.batch_resets.standings([candidate], channel)
    return told


def test_a_user_has_one_reset_in_a_batch_however_often_it_is_made(stores, services):
    many = [new(stores, services), new(stores, services)]

    told = services.batch_resets.record(many) + services.batch_resets.record(many)

    assert told == [""] * 4
    assert many[0].reset_id == many[1].reset_id
    assert stores.counted_now() == {"queued": 1}
    assert stores.due_at(many[0].reset_id, Queue.BULK) is not None


def test_another_batch_makes_another_reset(services):
    ids = {services.batch_resets.reset_id("ada", batch) for batch in ("b1", "b2")}

    assert len(ids) == 2


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, "newer_reset"),  # still queued
        (Status.RETRYING, "newer_reset"),
        (Status.FAILED, ""),
        (Status.ACCEPTED, ""),  # older than the batch: asked for by name all the same
    ],
)
def test_an_older_reset_stands_in_the_way_while_it_waits(stores, services, status, told):
    reset_id = stores.record()
    if status is Status.RETRYING:
        stores.retry(reset_id)
    elif status:
        outcome = Outcome.ACCEPTED if status is Status.ACCEPTED else Outcome.PERMANENT
        stores.attempt(reset_id, outcome, status)

    assert standing(stores, services) == told
    assert services.batch_resets.record([new(stores, services)]) == [told]
    assert stores.status(reset_id) == (status or Status.QUEUED)


def test_a_newer_reset_that_went_out_stands_in_the_way(stores, services):
    since = now_ms(stores) - 1000
    stores.attempt(stores.record())

    assert standing(stores, services, since_ms=since) == "newer_reset"


def test_a_newer_reset_whose_code_is_void_does_not(stores, services):
    since = now_ms(stores) - 1000
    reset_id = stores.record()
    stores.attempt(reset_id)
    stores.client.hset(keys.reset(reset_id), "v", "voided")

    assert standing(stores, services, since_ms=since) == ""


def test_an_older_reset_on_the_other_channel_does_not(stores, services):
    stores.record(channel=Channel.SMS)
    since = now_ms(stores) + 1

    assert standing(stores, services, since_ms=since) == ""


def test_whoever_completed_a_reset_since_is_left_alone(stores, services):
    since = now_ms(stores) - 1000
    reset_id = stores.record()
    stores.attempt(reset_id)
    stores.complete(reset_id)

    assert standing(stores, services, since_ms=since) == "completed"
    assert services.batch_resets.record([new(stores, services, since_ms=since)]) == ["completed"]


def test_a_reset_of_the_batch_itself_is_known(stores, services):
    services.batch_resets.record([new(stores, services)])

    assert standing(stores, services) == "known"


def test_a_batch_counts_how_its_resets_ended(stores, services):
    ends = [
        (Outcome.ACCEPTED, Status.ACCEPTED, ""),
        (Outcome.PERMANENT, Status.FAILED, "refused"),
        (Outcome.PERMANENT, Status.FAILED, "refused"),
    ]
    for outcome, status, reason in ends:
        user_id = fresh_user()
        one = new(stores, services, user_id)
        services.batch_resets.record([one])
        stores.attempt(one.reset_id, outcome, status, reason=reason)
    stores.attempt(stores.record(fresh_user()))  # of no batch

    assert services.batches.ends(BATCH) == {
        (Status.ACCEPTED, ""): 1,
        (Status.FAILED, "refused"): 2,
    }


def test_an_overtaken_reset_of_a_batch_is_counted_as_cancelled(stores, services):
    services.batch_resets.record([new(stores, services)])
    stores.record()

    assert services.batches.ends(BATCH) == {(Status.CANCELLED, "superseded"): 1}


def test_the_ends_of_many_resets_are_told_in_their_order(stores, services):
    one, gone = new(stores, services), services.batch_resets.reset_id("nobody", BATCH)
    services.batch_resets.record([one])

    told = services.batch_resets.ends([gone, one.reset_id])

    assert told == [None, (Status.QUEUED, "")]
