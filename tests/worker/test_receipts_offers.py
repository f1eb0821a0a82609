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
def services(client):
    return some_delivery_services(client, offer_other_channel=True)


def a_sent_one(services, **facts):
    reset_id = services.record(**facts)
    services.deliver(reset_id)
    services.services.hints.close()
    return reset_id


def bounce(services, reset_id, kind=EventType.UNDELIVERED, **facts):
    values = {"reason": "bounce", "suppression": "bounce", "message_id": "m1"}
    event = CallbackEvent(
        reset_id=reset_id,
        provider="p1",
        event_id=f"e{next(_numbers)}",
        type=kind,
        **values | facts,
    )
    services.services.receipts.receive("p1", [event])
    ReceiptProcessor(services.services).apply(keys.ID_SIGNS.index(reset_id[0]))


def others(services, reset_id):
    """What was recorded beside it."""
    found = services.services.resets.find_of_user("ada")
    return [reset for reset in found if reset.reset_id != reset_id]


def kinds(reset):
    return [event.type for event in reset.events]


@pytest.mark.parametrize("channel", Channel)
def test_a_fresh_reset_goes_by_the_other_channel(services, channel):
    reset_id = a_sent_one(services, channel=channel)

    bounce(services, reset_id)

    (new,) = others(services, reset_id)
    assert {channel, new.channel} == set(Channel)
    assert kinds(new) == ["offered"]
    assert new.events[0].detail == f"in place of {reset_id}"
    assert kinds(services.look(reset_id)) == ["undelivered", "offered"]
    assert [hint.about for hint in services.services.hints.published] == [new.reset_id]
    services.deliver(new.reset_id)
    assert services.look(new.reset_id).status is Status.ACCEPTED


def test_it_is_off_unless_it_was_switched_on(client):
    services = some_delivery_services(client)
    reset_id = a_sent_one(services)

    bounce(services, reset_id)

    assert others(services, reset_id) == []
    assert kinds(services.look(reset_id)) == ["undelivered"]


def test_it_happens_once_however_often_a_worker_begins(services):
    reset_id = a_sent_one(services)

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(services.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        bounce(services.with_services(receipts=DyingReceipts()), reset_id)
    bounce(services, reset_id, EventType.FAILED)

    assert len(others(services, reset_id)) == 1
    assert kinds(services.look(reset_id)).count("offered") == 1


def test_it_does_not_come_back_when_the_other_channel_fails_too(services):
    reset_id = a_sent_one(services)
    bounce(services, reset_id, suppression="")
    (new,) = others(services, reset_id)
    services.deliver(new.reset_id)

    bounce(services, new.reset_id, suppression="")

    assert services.look(new.reset_id).status is Status.UNDELIVERED
    assert len(others(services, reset_id)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": None, "phoneVerified": False},
        {"phoneVerified": False},
        {"state": "locked"},
    ],
    ids=["no number", "not verified", "locked"],
)
def test_a_user_who_cannot_be_reached_there_is_left_alone(services, changes):
    reset_id = a_sent_one(services)
    services.change_user(**changes)

    bounce(services, reset_id)

    assert others(services, reset_id) == []
    assert services.look(reset_id).status is Status.UNDELIVERED


@pytest.mark.parametrize(
    "settings",
    [{"sms_providers": ()}, {"sms_countries": ("DE",)}],
    ids=["no provider", "country"],
)
def test_a_channel_that_may_not_be_used_is_not(client, settings):
    services = some_delivery_services(client, offer_other_channel=True, **settings)
    reset_id = a_sent_one(services)

    bounce(services, reset_id)

    assert others(services, reset_id) == []


def test_a_suppressed_number_is_not_written_to(services):
    reset_id = a_sent_one(services)
    number = Recipient(Channel.SMS, "+41791234567")
    services.services.suppressions.add(number, reason="opt_out", source="twilio")

    bounce(services, reset_id)

    assert others(services, reset_id) == []


def test_the_budget_of_sms_holds_for_it_too(client):
    services = some_delivery_services(client, offer_other_channel=True, sms_budget_per_day=1)
    first, second = a_sent_one(services), a_sent_one(services)

    bounce(services, first, suppression="")
    bounce(services, second, suppression="")

    found = services.services.resets.find_of_user("ada")
    assert sum(reset.channel is Channel.SMS for reset in found) == 1


@pytest.mark.parametrize("kind", [EventType.DELIVERED, EventType.DEFERRED, EventType.COMPLAINED])
def test_only_what_did_not_arrive_is_offered(services, kind):
    reset_id = a_sent_one(services)

    bounce(services, reset_id, kind, suppression="")

    assert others(services, reset_id) == []


def test_a_code_that_ended_is_not_offered(services):
    reset_id = a_sent_one(services)
    services.stores.end_in(reset_id, -1)

    bounce(services, reset_id)

    assert others(services, reset_id) == []


def test_a_copy_that_failed_is_not_offered_while_another_was_taken(services):
    reset_id = a_sent_one(services)

    bounce(services, reset_id, message_id="m0")

    assert others(services, reset_id) == []
    assert services.look(reset_id).status is Status.ACCEPTED


def test_a_directory_that_is_away_delays_no_receipt(services):
    reset_id = a_sent_one(services)

    class AwayDirectory:
        def find_user(self, _):
            raise DirectoryUnavailableError

    bounce(services.with_services(directory=AwayDirectory()), reset_id)

    assert others(services, reset_id) == []
    assert services.look(reset_id).status is Status.UNDELIVERED


def test_a_notice_is_offered_to_nobody(services):
    services.stores.complete(a_sent_one(services))
    (notice,) = [
        key.rpartition(":")[2]
        for key in services.stores.client.scan_iter("{kt:*}:r:*")
        if services.stores.client.hget(key, "k") == Kind.NOTICE
    ]
    before = len(services.services.resets.find_of_user("ada"))

    bounce(services, notice)

    assert len(services.services.resets.find_of_user("ada")) == before


def test_the_one_of_a_batch_waits_with_the_batches(services):
    reset_id = services.record(queue=Queue.BULK)
    services.deliver(reset_id)

    bounce(services, reset_id)

    (new,) = others(services, reset_id)
    assert (new.queue, new.batch_id) == (Queue.BULK, None)
