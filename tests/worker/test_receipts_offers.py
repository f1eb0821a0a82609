"""The other channel for a reset that did not arrive: once, where it may be, and only if wanted."""

from __future__ import annotations

from itertools import count

import pytest

from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.models import CallbackEvent, Channel, EventType, Kind, Queue, Recipient, Status
from shared.store import keys
from tests.support.delivery_services import some_delivery_services
from worker.receipts import ReceiptProcessor

_numbers = count(1)
pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def worker(client):
    return some_delivery_services(client, offer_other_channel=True)


def a_sent_one(worker, **fields):
    reset_id = worker.record(**fields)
    worker.deliver(reset_id)
    worker.services.hints.close()
    return reset_id


def bounce(worker, reset_id, kind=EventType.UNDELIVERED, **fields):
    values = {"reason": "bounce", "suppression": "bounce", "message_id": "m1"}
    event = CallbackEvent(
        reset_id=reset_id,
        provider="p1",
        event_id=f"e{next(_numbers)}",
        type=kind,
        **values | fields,
    )
    worker.services.receipts.receive("p1", [event])
    ReceiptProcessor(worker.services).apply(keys.find_shard(reset_id))


def others(worker, reset_id):
    """What was recorded beside it."""
    found = worker.services.resets.find_of_user("ada")
    return [reset for reset in found if reset.reset_id != reset_id]


def kinds(reset):
    return [event.type for event in reset.events]


@pytest.mark.parametrize("channel", Channel)
def test_a_fresh_reset_goes_by_the_other_channel(worker, channel):
    reset_id = a_sent_one(worker, channel=channel)

    bounce(worker, reset_id)

    (new,) = others(worker, reset_id)
    assert {channel, new.channel} == set(Channel)
    assert kinds(new) == ["offered"]
    assert new.events[0].detail == f"in place of {reset_id}"
    assert kinds(worker.look(reset_id)) == ["undelivered", "offered"]
    assert [hint.about for hint in worker.services.hints.published] == [new.reset_id]
    worker.deliver(new.reset_id)
    assert worker.look(new.reset_id).status is Status.ACCEPTED


def test_it_is_off_unless_it_was_switched_on(client):
    worker = some_delivery_services(client)
    reset_id = a_sent_one(worker)

    bounce(worker, reset_id)

    assert others(worker, reset_id) == []
    assert kinds(worker.look(reset_id)) == ["undelivered"]


def test_it_happens_once_however_often_a_worker_begins(worker):
    reset_id = a_sent_one(worker)

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(worker.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        bounce(worker.with_services(receipts=DyingReceipts()), reset_id)
    bounce(worker, reset_id, EventType.FAILED)

    assert len(others(worker, reset_id)) == 1
    assert kinds(worker.look(reset_id)).count("offered") == 1


def test_it_does_not_come_back_when_the_other_channel_fails_too(worker):
    reset_id = a_sent_one(worker)
    bounce(worker, reset_id, suppression="")
    (new,) = others(worker, reset_id)
    worker.deliver(new.reset_id)

    bounce(worker, new.reset_id, suppression="")

    assert worker.look(new.reset_id).status is Status.UNDELIVERED
    assert len(others(worker, reset_id)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": None, "phoneVerified": False},
        {"phoneVerified": False},
        {"state": "locked"},
    ],
    ids=["no number", "not verified", "locked"],
)
def test_a_user_who_cannot_be_reached_there_is_left_alone(worker, changes):
    reset_id = a_sent_one(worker)
    worker.change_user(**changes)

    bounce(worker, reset_id)

    assert others(worker, reset_id) == []
    assert worker.look(reset_id).status is Status.UNDELIVERED


@pytest.mark.parametrize(
    "settings",
    [{"sms_providers": ()}, {"sms_countries": ("DE",)}],
    ids=["no provider", "country"],
)
def test_a_channel_that_may_not_be_used_is_not(client, settings):
    worker = some_delivery_services(client, offer_other_channel=True, **settings)
    reset_id = a_sent_one(worker)

    bounce(worker, reset_id)

    assert others(worker, reset_id) == []


def test_a_suppressed_number_is_not_written_to(worker):
    reset_id = a_sent_one(worker)
    number = Recipient(Channel.SMS, "+41791234567")
    worker.services.suppressions.add(number, reason="opt_out", source="twilio")

    bounce(worker, reset_id)

    assert others(worker, reset_id) == []


def test_the_budget_of_sms_holds_for_it_too(client):
    worker = some_delivery_services(client, offer_other_channel=True, sms_budget_per_day=1)
    first, second = a_sent_one(worker), a_sent_one(worker)

    bounce(worker, first, suppression="")
    bounce(worker, second, suppression="")

    found = worker.services.resets.find_of_user("ada")
    assert sum(reset.channel is Channel.SMS for reset in found) == 1


@pytest.mark.parametrize("kind", [EventType.DELIVERED, EventType.DEFERRED, EventType.COMPLAINED])
def test_only_what_did_not_arrive_is_offered(worker, kind):
    reset_id = a_sent_one(worker)

    bounce(worker, reset_id, kind, suppression="")

    assert others(worker, reset_id) == []


def test_a_code_that_ended_is_not_offered(worker):
    reset_id = a_sent_one(worker)
    worker.stores.end_in(reset_id, -1)

    bounce(worker, reset_id)

    assert others(worker, reset_id) == []


def test_a_copy_that_failed_is_not_offered_while_another_was_taken(worker):
    reset_id = a_sent_one(worker)

    bounce(worker, reset_id, message_id="m0")

    assert others(worker, reset_id) == []
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_a_directory_that_is_away_delays_no_receipt(worker):
    reset_id = a_sent_one(worker)

    class AwayDirectory:
        def find_user(self, _):
            raise DirectoryUnavailableError

    bounce(worker.with_services(directory=AwayDirectory()), reset_id)

    assert others(worker, reset_id) == []
    assert worker.look(reset_id).status is Status.UNDELIVERED


def test_a_notice_is_offered_to_nobody(worker):
    worker.stores.complete(a_sent_one(worker))
    (notice,) = [
        key.rpartition(":")[2]
        for key in worker.stores.client.scan_iter("{kt:*}:r:*")
        if worker.stores.client.hget(key, "k") == Kind.NOTICE
    ]
    before = len(worker.services.resets.find_of_user("ada"))

    bounce(worker, notice)

    assert len(worker.services.resets.find_of_user("ada")) == before


def test_the_one_of_a_batch_waits_with_the_batches(worker):
    reset_id = worker.record(queue=Queue.BULK)
    worker.deliver(reset_id)

    bounce(worker, reset_id)

    (new,) = others(worker, reset_id)
    assert (new.queue, new.batch_id) == (Queue.BULK, None)
