"""The other channel for a reset that did not arrive: once, where it may be, and only if wanted."""

from __future__ import annotations

from itertools import count

import pytest

from shared.callback_events import CallbackEvent, EventType
from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.models import Channel, Kind, Queue, Recipient, Status
from shared.store import keys
from tests.delivery_house import a_delivery_house
from worker.receipts import ReceiptDesk

_numbers = count(1)
pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def house(client):
    return a_delivery_house(client, offer_other_channel=True)


def a_sent_one(house, **facts):
    reset_id = house.record(**facts)
    house.deliver(reset_id)
    house.services.hints.close()
    return reset_id


def bounce(house, reset_id, kind=EventType.UNDELIVERED, **facts):
    values = {"reason": "bounce", "suppression": "bounce", "message_id": "m1"}
    event = CallbackEvent(
        reset_id=reset_id,
        provider="p1",
        event_id=f"e{next(_numbers)}",
        type=kind,
        **values | facts,
    )
    house.services.receipts.receive("p1", [event])
    ReceiptDesk(house.services).apply(keys.ID_SIGNS.index(reset_id[0]))


def others(house, reset_id):
    """What was recorded beside it."""
    found = house.services.resets.find_of_user("ada")
    return [reset for reset in found if reset.reset_id != reset_id]


def kinds(reset):
    return [event.type for event in reset.events]


@pytest.mark.parametrize("channel", Channel)
def test_a_fresh_reset_goes_by_the_other_channel(house, channel):
    reset_id = a_sent_one(house, channel=channel)

    bounce(house, reset_id)

    (new,) = others(house, reset_id)
    assert {channel, new.channel} == set(Channel)
    assert kinds(new) == ["offered"]
    assert new.events[0].detail == f"in place of {reset_id}"
    assert kinds(house.look(reset_id)) == ["undelivered", "offered"]
    assert [hint.about for hint in house.services.hints.published] == [new.reset_id]
    house.deliver(new.reset_id)
    assert house.look(new.reset_id).status is Status.ACCEPTED


def test_it_is_off_unless_it_was_switched_on(client):
    house = a_delivery_house(client)
    reset_id = a_sent_one(house)

    bounce(house, reset_id)

    assert others(house, reset_id) == []
    assert kinds(house.look(reset_id)) == ["undelivered"]


def test_it_happens_once_however_often_a_worker_begins(house):
    reset_id = a_sent_one(house)

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(house.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        bounce(house.with_services(receipts=DyingReceipts()), reset_id)
    bounce(house, reset_id, EventType.FAILED)

    assert len(others(house, reset_id)) == 1
    assert kinds(house.look(reset_id)).count("offered") == 1


def test_it_does_not_come_back_when_the_other_channel_fails_too(house):
    reset_id = a_sent_one(house)
    bounce(house, reset_id, suppression="")
    (new,) = others(house, reset_id)
    house.deliver(new.reset_id)

    bounce(house, new.reset_id, suppression="")

    assert house.look(new.reset_id).status is Status.UNDELIVERED
    assert len(others(house, reset_id)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": None, "phoneVerified": False},
        {"phoneVerified": False},
        {"state": "locked"},
    ],
    ids=["no number", "not verified", "locked"],
)
def test_a_user_who_cannot_be_reached_there_is_left_alone(house, changes):
    reset_id = a_sent_one(house)
    house.change_user(**changes)

    bounce(house, reset_id)

    assert others(house, reset_id) == []
    assert house.look(reset_id).status is Status.UNDELIVERED


@pytest.mark.parametrize(
    "settings",
    [{"sms_providers": ()}, {"sms_countries": ("DE",)}],
    ids=["no provider", "country"],
)
def test_a_channel_that_may_not_be_used_is_not(client, settings):
    house = a_delivery_house(client, offer_other_channel=True, **settings)
    reset_id = a_sent_one(house)

    bounce(house, reset_id)

    assert others(house, reset_id) == []


def test_a_suppressed_number_is_not_written_to(house):
    reset_id = a_sent_one(house)
    number = Recipient(Channel.SMS, "+41791234567")
    house.services.suppressions.add(number, reason="opt_out", source="twilio")

    bounce(house, reset_id)

    assert others(house, reset_id) == []


def test_the_budget_of_sms_holds_for_it_too(client):
    house = a_delivery_house(client, offer_other_channel=True, sms_budget_per_day=1)
    first, second = a_sent_one(house), a_sent_one(house)

    bounce(house, first, suppression="")
    bounce(house, second, suppression="")

    found = house.services.resets.find_of_user("ada")
    assert sum(reset.channel is Channel.SMS for reset in found) == 1


@pytest.mark.parametrize("kind", [EventType.DELIVERED, EventType.DEFERRED, EventType.COMPLAINED])
def test_only_what_did_not_arrive_is_offered(house, kind):
    reset_id = a_sent_one(house)

    bounce(house, reset_id, kind, suppression="")

    assert others(house, reset_id) == []


def test_a_code_that_ended_is_not_offered(house):
    reset_id = a_sent_one(house)
    house.stores.end_in(reset_id, -1)

    bounce(house, reset_id)

    assert others(house, reset_id) == []


def test_a_copy_that_failed_is_not_offered_while_another_was_taken(house):
    reset_id = a_sent_one(house)

    bounce(house, reset_id, message_id="m0")

    assert others(house, reset_id) == []
    assert house.look(reset_id).status is Status.ACCEPTED


def test_a_directory_that_is_away_delays_no_receipt(house):
    reset_id = a_sent_one(house)

    class AwayDirectory:
        def find_user(self, _):
            raise DirectoryUnavailableError

    bounce(house.with_services(directory=AwayDirectory()), reset_id)

    assert others(house, reset_id) == []
    assert house.look(reset_id).status is Status.UNDELIVERED


def test_a_notice_is_offered_to_nobody(house):
    house.stores.complete(a_sent_one(house))
    (notice,) = [
        key.rpartition(":")[2]
        for key in house.stores.client.scan_iter("{kt:*}:r:*")
        if house.stores.client.hget(key, "k") == Kind.NOTICE
    ]
    before = len(house.services.resets.find_of_user("ada"))

    bounce(house, notice)

    assert len(house.services.resets.find_of_user("ada")) == before


def test_the_one_of_a_batch_waits_with_the_batches(house):
    reset_id = house.record(queue=Queue.BULK)
    house.deliver(reset_id)

    bounce(house, reset_id)

    (new,) = others(house, reset_id)
    assert (new.queue, new.batch_id) == (Queue.BULK, None)
