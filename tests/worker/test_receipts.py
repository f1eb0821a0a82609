"""A worker applies what providers told: in order, once, suppression before status."""

from __future__ import annotations

from itertools import count

import pytest

from shared.errors import DoubtfulProviderError, StoreUnavailableError
from shared.models import CallbackEvent, Channel, EventType, Outcome, Status
from shared.providers.outbox import Outbox
from shared.queue import Task
from shared.store import keys
from tests.support.builders import a_user
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.provider_builders import a_mail
from worker import receipts
from worker.receipts import ReceiptJob, ReceiptProcessor, take_simulated_reports

pytestmark = pytest.mark.topology

DOUBT = DoubtfulProviderError("read_timeout", "no answer")
_numbers = count(1)


@pytest.fixture
def worker(client):
    return some_delivery_services(client)


def processor_of(worker):
    return ReceiptProcessor(worker.services)


def tell(worker, reset_id, kind=EventType.DELIVERED, **fields):
    """The provider tells; gives the shard it waits in."""
    values = {
        "reset_id": reset_id,
        "provider": "p1",
        "event_id": f"event-{next(_numbers)}",
        "type": kind,
        "message_id": "m1",
    }
    worker.services.receipts.receive("p1", [CallbackEvent(**values | fields)])
    return keys.find_shard(reset_id)


def a_delivered_one(worker, user_id="ada"):
    reset_id = worker.record(user_id)
    worker.deliver(reset_id)
    return reset_id


def test_what_was_told_is_applied(worker):
    reset_id = a_delivered_one(worker)
    shard = tell(worker, reset_id)

    applied = processor_of(worker).apply(shard)

    assert applied == 1
    assert worker.look(reset_id).status is Status.DELIVERED
    assert worker.services.receipts.shards_waiting() == []


@pytest.mark.parametrize("reason", ["bounce", "complaint", "opt_out", "bad_number"])
def test_whoever_bounced_or_objected_is_not_written_to_again(worker, reason):
    shard = tell(worker, a_delivered_one(worker), EventType.UNDELIVERED, suppression=reason)

    processor_of(worker).apply(shard)

    found = worker.services.suppressions.find(
        worker.services.directory.find_user("ada").recipient(Channel.EMAIL)
    )
    assert (found.reason, found.source) == (reason, "p1")
    later = worker.record()
    worker.deliver(later)
    assert worker.look(later).status is Status.SUPPRESSED


def test_a_soft_failure_suppresses_nobody(worker):
    shard = tell(worker, a_delivered_one(worker), EventType.UNDELIVERED, reason="blocked")

    processor_of(worker).apply(shard)

    assert list(worker.services.suppressions.list_all()) == []


def test_a_worker_that_dies_between_suppression_and_status_loses_nothing(worker):
    reset_id = a_delivered_one(worker)
    shard = tell(worker, reset_id, EventType.UNDELIVERED, suppression="bounce")

    class DyingReceipts:
        def __getattr__(self, name):
            return getattr(worker.services.receipts, name)

        def settle(self, *_, **__):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        processor_of(worker.with_services(receipts=DyingReceipts())).apply(shard)
    processor_of(worker).apply(shard)

    assert worker.look(reset_id).status is Status.UNDELIVERED
    assert len(list(worker.services.suppressions.list_all())) == 1
    assert len(worker.look(reset_id).events) == 1


def test_a_callback_settles_a_doubt_and_nothing_is_sent_again(client):
    provider = ScriptedProvider(DOUBT)
    worker = some_delivery_services(client, provider)
    reset_id = worker.record()
    worker.deliver(reset_id)
    assert worker.look(reset_id).status is Status.UNKNOWN

    processor_of(worker).apply(tell(worker, reset_id, EventType.ACCEPTED, message_id="m9"))
    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert worker.outcomes(reset_id) == [Outcome.FOUND]
    assert reset.attempts[0].provider_message_id == "m9"
    assert len(provider.messages) == 1


def test_a_callback_that_comes_during_the_call_is_not_moved_back(client):
    provider = ScriptedProvider()
    worker = some_delivery_services(client, provider)
    reset_id = worker.record()

    def tell_during_the_call():
        processor_of(worker).apply(tell(worker, reset_id, EventType.DELIVERED))
        return DOUBT

    provider.answers[:] = [tell_during_the_call]
    worker.deliver(reset_id)

    assert worker.look(reset_id).status is Status.DELIVERED
    assert worker.outcomes(reset_id) == [Outcome.FOUND]


def test_two_workers_at_one_shard_apply_each_report_once(worker):
    reset_id = a_delivered_one(worker)
    shard = tell(worker, reset_id, EventType.COMPLAINED, suppression="complaint")
    mine = worker.services.receipts.head(shard, most=1)

    processor_of(worker).apply(shard)
    applied = worker.services.receipts.settle(mine[0])

    assert applied is None
    assert len(worker.look(reset_id).events) == 1


def test_a_long_list_is_left_to_a_new_hint(worker, monkeypatch):
    monkeypatch.setattr(receipts, "MAX_AT_ONCE", 2)
    monkeypatch.setattr(receipts, "MAX_PER_TASK", 4)
    reset_id = a_delivered_one(worker)
    for _ in range(5):
        shard = tell(worker, reset_id, EventType.DEFERRED)
    worker.services.hints.close()

    assert processor_of(worker).apply(shard) == 4

    (hint,) = worker.services.hints.published
    assert (hint.task, hint.about) == (Task.APPLY_RECEIPTS, str(shard))


def test_a_sweep_hints_first_and_helps_itself_next(worker):
    reset_id = a_delivered_one(worker)
    chore = ReceiptJob(worker.services, processor_of(worker))
    worker.services.hints.close()
    shard = tell(worker, reset_id)

    chore()
    hinted = [hint.about for hint in worker.services.hints.published]
    before = worker.look(reset_id).status
    chore()

    assert hinted == [str(shard)]
    assert before is Status.ACCEPTED
    assert worker.look(reset_id).status is Status.DELIVERED
    assert len(worker.services.hints.published) == 1


def test_every_shard_is_swept(worker):
    for number in range(40):
        a_user(worker.services, f"u{number}")
        tell(worker, a_delivered_one(worker, f"u{number}"))
    chore = ReceiptJob(worker.services, processor_of(worker))

    chore()
    chore()

    assert worker.services.receipts.shards_waiting() == []


def test_what_the_outbox_reports_arrives_as_callbacks_do(worker, tmp_path):
    services = worker.services
    object.__setattr__(services.settings, "data_dir", tmp_path)
    reset_id = worker.record()
    worker.deliver(reset_id)
    mail = a_mail("delivered@example.com", reset_id=reset_id)
    Outbox(Channel.EMAIL, tmp_path, clock=lambda: 0.0).send(mail)

    take_simulated_reports(services)
    processor_of(worker).apply(keys.find_shard(reset_id))

    assert services.resets.find(reset_id).status is Status.DELIVERED
    assert not list(tmp_path.rglob("reports/*.json"))
