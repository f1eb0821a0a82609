"""A worker applies what providers told: in order, once, suppression before status."""

from __future__ import annotations

from itertools import count

import pytest

from shared.callback_events import CallbackEvent, EventType
from shared.errors import DoubtfulProviderError, StoreUnavailableError
from shared.hints import Task
from shared.models import Channel, Outcome, Status
from shared.store import keys
from tests.builders import a_user
from tests.delivery_house import ScriptedProvider, a_delivery_house
from worker import receipts
from worker.receipts import ReceiptChore, ReceiptDesk

DOUBT = DoubtfulProviderError("read_timeout", "no answer")
_numbers = count(1)


@pytest.fixture
def house(client):
    return a_delivery_house(client)


def desk_of(house):
    return ReceiptDesk(house.services)


def tell(house, reset_id, kind=EventType.DELIVERED, **facts):
    """The provider tells; gives the shard it waits in."""
    values = {
        "reset_id": reset_id,
        "provider": "p1",
        "event_id": f"event-{next(_numbers)}",
        "type": kind,
        "message_id": "m1",
    }
    house.services.receipts.receive("p1", [CallbackEvent(**values | facts)])
    return keys.ID_SIGNS.index(reset_id[0])


def a_delivered_one(house, user_id="ada"):
    reset_id = house.record(user_id)
    house.deliver(reset_id)
    return reset_id


def test_what_was_told_is_applied(house):
    reset_id = a_delivered_one(house)
    shard = tell(house, reset_id)

    applied = desk_of(house).apply(shard)

    assert applied == 1
    assert house.look(reset_id).status is Status.DELIVERED
    assert house.services.receipts.shards_waiting() == []


@pytest.mark.parametrize("reason", ["bounce", "complaint", "opt_out", "bad_number"])
def test_whoever_bounced_or_objected_is_not_written_to_again(house, reason):
    shard = tell(house, a_delivered_one(house), EventType.UNDELIVERED, suppression=reason)

    desk_of(house).apply(shard)

    found = house.services.suppressions.find(
        house.services.directory.find_user("ada").recipient(Channel.EMAIL)
    )
    assert (found.reason, found.source) == (reason, "p1")
    later = house.record()
    house.deliver(later)
    assert house.look(later).status is Status.SUPPRESSED


def test_a_soft_failure_suppresses_nobody(house):
    shard = tell(house, a_delivered_one(house), EventType.UNDELIVERED, reason="blocked")

    desk_of(house).apply(shard)

    assert list(house.services.suppressions.list_all()) == []


def test_a_worker_that_dies_between_suppression_and_status_loses_nothing(house):
    reset_id = a_delivered_one(house)
    shard = tell(house, reset_id, EventType.UNDELIVERED, suppression="bounce")

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(house.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        desk_of(house.with_services(receipts=DyingReceipts())).apply(shard)
    desk_of(house).apply(shard)

    assert house.look(reset_id).status is Status.UNDELIVERED
    assert len(list(house.services.suppressions.list_all())) == 1
    assert len(house.look(reset_id).events) == 1


def test_a_callback_settles_a_doubt_and_nothing_is_sent_again(client):
    provider = ScriptedProvider(DOUBT)
    house = a_delivery_house(client, provider)
    reset_id = house.record()
    house.deliver(reset_id)
    assert house.look(reset_id).status is Status.UNKNOWN

    desk_of(house).apply(tell(house, reset_id, EventType.ACCEPTED, message_id="m9"))
    house.deliver(reset_id)

    reset = house.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert house.outcomes(reset_id) == [Outcome.FOUND]
    assert reset.attempts[0].provider_message_id == "m9"
    assert len(provider.messages) == 1


def test_a_callback_that_comes_during_the_call_is_not_moved_back(client):
    provider = ScriptedProvider()
    house = a_delivery_house(client, provider)
    reset_id = house.record()

    def tell_during_the_call():
        desk_of(house).apply(tell(house, reset_id, EventType.DELIVERED))
        return DOUBT

    provider.answers[:] = [tell_during_the_call]
    house.deliver(reset_id)

    assert house.look(reset_id).status is Status.DELIVERED
    assert house.outcomes(reset_id) == [Outcome.FOUND]


def test_two_workers_at_one_shard_apply_each_report_once(house):
    reset_id = a_delivered_one(house)
    shard = tell(house, reset_id, EventType.COMPLAINED, suppression="complaint")
    mine = house.services.receipts.head(shard, most=1)

    desk_of(house).apply(shard)
    applied = house.services.receipts.settle(mine[0])

    assert applied is None
    assert len(house.look(reset_id).events) == 1


def test_a_long_list_is_left_to_a_new_hint(house, monkeypatch):
    monkeypatch.setattr(receipts, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(receipts, "MOST_PER_TASK", 4)
    reset_id = a_delivered_one(house)
    for _ in range(5):
        shard = tell(house, reset_id, EventType.DEFERRED)
    house.services.hints.close()

    assert desk_of(house).apply(shard) == 4

    (hint,) = house.services.hints.published
    assert (hint.task, hint.about) == (Task.APPLY_RECEIPTS, str(shard))


def test_a_sweep_hints_first_and_helps_itself_next(house):
    reset_id = a_delivered_one(house)
    chore = ReceiptChore(house.services, desk_of(house))
    house.services.hints.close()
    shard = tell(house, reset_id)

    chore()
    hinted = [hint.about for hint in house.services.hints.published]
    before = house.look(reset_id).status
    chore()

    assert hinted == [str(shard)]
    assert before is Status.ACCEPTED
    assert house.look(reset_id).status is Status.DELIVERED
    assert len(house.services.hints.published) == 1


def test_every_shard_is_swept(house):
    for number in range(40):
        a_user(house.services, f"u{number}")
        tell(house, a_delivered_one(house, f"u{number}"))
    chore = ReceiptChore(house.services, desk_of(house))

    chore()
    chore()

    assert house.services.receipts.shards_waiting() == []
