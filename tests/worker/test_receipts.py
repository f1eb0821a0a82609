"""A worker applies what providers told: in order, once, suppression before status."""

from __future__ import annotations

from itertools import count

import pytest

from shared.errors import DoubtfulProviderError, StoreUnavailableError
from shared.models import CallbackEvent, Channel, EventType, Outcome, Status
from shared.queue import Task
from shared.store import keys
from tests.support.builders import a_user
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from worker import receipts
from worker.receipts import ReceiptJob, ReceiptProcessor

DOUBT = DoubtfulProviderError("read_timeout", "no answer")
_numbers = count(1)


@pytest.fixture
def services(client):
    return some_delivery_services(client)


def desk_of(services):
    return ReceiptProcessor(services.services)


def tell(services, reset_id, kind=EventType.DELIVERED, **facts):
    """The provider tells; gives the shard it waits in."""
    values = {
        "reset_id": reset_id,
        "provider": "p1",
        "event_id": f"event-{next(_numbers)}",
        "type": kind,
        "message_id": "m1",
    }
    services.services.receipts.receive("p1", [CallbackEvent(**values | facts)])
    return keys.ID_SIGNS.index(reset_id[0])


def a_delivered_one(services, user_id="ada"):
    reset_id = services.record(user_id)
    services.deliver(reset_id)
    return reset_id


def test_what_was_told_is_applied(services):
    reset_id = a_delivered_one(services)
    shard = tell(services, reset_id)

    applied = desk_of(services).apply(shard)

    assert applied == 1
    assert services.look(reset_id).status is Status.DELIVERED
    assert services.services.receipts.shards_waiting() == []


@pytest.mark.parametrize("reason", ["bounce", "complaint", "opt_out", "bad_number"])
def test_whoever_bounced_or_objected_is_not_written_to_again(services, reason):
    shard = tell(services, a_delivered_one(services), EventType.UNDELIVERED, suppression=reason)

    desk_of(services).apply(shard)

    found = services.services.suppressions.find(
        services.services.directory.find_user("ada").recipient(Channel.EMAIL)
    )
    assert (found.reason, found.source) == (reason, "p1")
    later = services.record()
    services.deliver(later)
    assert services.look(later).status is Status.SUPPRESSED


def test_a_soft_failure_suppresses_nobody(services):
    shard = tell(services, a_delivered_one(services), EventType.UNDELIVERED, reason="blocked")

    desk_of(services).apply(shard)

    assert list(services.services.suppressions.list_all()) == []


def test_a_worker_that_dies_between_suppression_and_status_loses_nothing(services):
    reset_id = a_delivered_one(services)
    shard = tell(services, reset_id, EventType.UNDELIVERED, suppression="bounce")

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(services.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        desk_of(services.with_services(receipts=DyingReceipts())).apply(shard)
    desk_of(services).apply(shard)

    assert services.look(reset_id).status is Status.UNDELIVERED
    assert len(list(services.services.suppressions.list_all())) == 1
    assert len(services.look(reset_id).events) == 1


def test_a_callback_settles_a_doubt_and_nothing_is_sent_again(client):
    provider = ScriptedProvider(DOUBT)
    services = some_delivery_services(client, provider)
    reset_id = services.record()
    services.deliver(reset_id)
    assert services.look(reset_id).status is Status.UNKNOWN

    desk_of(services).apply(tell(services, reset_id, EventType.ACCEPTED, message_id="m9"))
    services.deliver(reset_id)

    reset = services.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert services.outcomes(reset_id) == [Outcome.FOUND]
    assert reset.attempts[0].provider_message_id == "m9"
    assert len(provider.messages) == 1


def test_a_callback_that_comes_during_the_call_is_not_moved_back(client):
    provider = ScriptedProvider()
    services = some_delivery_services(client, provider)
    reset_id = services.record()

    def tell_during_the_call():
        desk_of(services).apply(tell(services, reset_id, EventType.DELIVERED))
        return DOUBT

    provider.answers[:] = [tell_during_the_call]
    services.deliver(reset_id)

    assert services.look(reset_id).status is Status.DELIVERED
    assert services.outcomes(reset_id) == [Outcome.FOUND]


def test_two_workers_at_one_shard_apply_each_report_once(services):
    reset_id = a_delivered_one(services)
    shard = tell(services, reset_id, EventType.COMPLAINED, suppression="complaint")
    mine = services.services.receipts.head(shard, most=1)

    desk_of(services).apply(shard)
    applied = services.services.receipts.settle(mine[0])

    assert applied is None
    assert len(services.look(reset_id).events) == 1


def test_a_long_list_is_left_to_a_new_hint(services, monkeypatch):
    monkeypatch.setattr(receipts, "MAX_AT_ONCE", 2)
    monkeypatch.setattr(receipts, "MAX_PER_TASK", 4)
    reset_id = a_delivered_one(services)
    for _ in range(5):
        shard = tell(services, reset_id, EventType.DEFERRED)
    services.services.hints.close()

    assert desk_of(services).apply(shard) == 4

    (hint,) = services.services.hints.published
    assert (hint.task, hint.about) == (Task.APPLY_RECEIPTS, str(shard))


def test_a_sweep_hints_first_and_helps_itself_next(services):
    reset_id = a_delivered_one(services)
    chore = ReceiptJob(services.services, desk_of(services))
    services.services.hints.close()
    shard = tell(services, reset_id)

    chore()
    hinted = [hint.about for hint in services.services.hints.published]
    before = services.look(reset_id).status
    chore()

    assert hinted == [str(shard)]
    assert before is Status.ACCEPTED
    assert services.look(reset_id).status is Status.DELIVERED
    assert len(services.services.hints.published) == 1


def test_every_shard_is_swept(services):
    for number in range(40):
        a_user(services.services, f"u{number}")
        tell(services, a_delivered_one(services, f"u{number}"))
    chore = ReceiptJob(services.services, desk_of(services))

    chore()
    chore()

    assert services.services.receipts.shards_waiting() == []
