"""What providers told, on the fake and on a real server: noted once, applied once, forward only."""

from __future__ import annotations

import time
from itertools import count

import pytest

from shared.errors import StoreUnavailableError
from shared.models import CallbackEvent, Channel, EventType, Kind, Outcome, Queue, Status
from shared.settings import Settings
from shared.store import keys, receipts
from shared.store.batches import BatchStore
from shared.store.receipts import ReceiptStore
from shared.store.resets import ClaimOverError, Finish
from tests.support.store_builders import stores_of

pytestmark = pytest.mark.topology

_numbers = count(1)
ACCEPTED = Finish(
    status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="p1", provider_message_id="m1"
)


@pytest.fixture
def stores(client):
    return stores_of(client)


@pytest.fixture
def store(client):
    return ReceiptStore(client, Settings())


def an_event(reset_id, kind=EventType.DELIVERED, **fields):
    values = {
        "reset_id": reset_id,
        "provider": "p1",
        "event_id": f"event-{next(_numbers)}",
        "type": kind,
        "message_id": "m1",
    }
    return CallbackEvent(**values | fields)


def tell(store, *events):
    """Receive and apply, as web and worker do."""
    for shard in store.receive("p1", events):
        for waiting in store.head(shard, most=100):
            assert store.settle(waiting)


def an_accepted(stores, **fields):
    reset_id = stores.record(**fields)
    stores.attempt(reset_id, provider_message_id="m1")
    return reset_id


def kinds_of(stores, reset_id):
    return [event.type for event in stores.resets.find(reset_id).events]


def counted(stores, name):
    return stores.counters.totals()[f"cb:p1:{name}"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (EventType.ACCEPTED, Status.ACCEPTED),
        (EventType.DEFERRED, Status.ACCEPTED),
        (EventType.DELIVERED, Status.DELIVERED),
        (EventType.UNDELIVERED, Status.UNDELIVERED),
        (EventType.FAILED, Status.FAILED),
        (EventType.COMPLAINED, Status.ACCEPTED),
        (EventType.OPTED_OUT, Status.ACCEPTED),
    ],
)
def test_what_was_accepted_becomes_what_the_provider_says(stores, store, kind, status):
    reset_id = an_accepted(stores)

    tell(store, an_event(reset_id, kind, reason="why" if status.is_final else ""))

    assert stores.status(reset_id) is status


@pytest.mark.parametrize("state", ["queued", "retrying", "unknown", "sending"])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (EventType.ACCEPTED, Status.ACCEPTED),
        (EventType.DEFERRED, Status.ACCEPTED),
        (EventType.DELIVERED, Status.DELIVERED),
        (EventType.UNDELIVERED, Status.UNDELIVERED),
    ],
)
def test_what_is_still_open_is_settled_for_good(stores, store, state, kind, status):
    reset_id = stores.record()
    {
        "queued": lambda: None,
        "retrying": lambda: stores.retry(reset_id),
        "unknown": lambda: stores.doubt(reset_id),
        "sending": lambda: stores.claim_sending(reset_id),
    }[state]()

    tell(store, an_event(reset_id, kind))

    assert stores.status(reset_id) is status
    assert stores.due_at(reset_id) is None
    assert stores.resets.claim(reset_id) is None
    assert stores.counted_now() == {}


def test_a_complaint_settles_nothing(stores, store):
    reset_id = stores.record()
    stores.doubt(reset_id)

    tell(store, an_event(reset_id, EventType.COMPLAINED))

    assert stores.status(reset_id) is Status.UNKNOWN
    assert kinds_of(stores, reset_id) == ["complained"]


def test_an_attempt_in_doubt_is_found_by_its_callback(stores, store):
    reset_id = stores.record()
    stores.doubt(reset_id)

    tell(store, an_event(reset_id, EventType.ACCEPTED, message_id="m7"))

    (attempt,) = stores.resets.find(reset_id).attempts
    assert (attempt.outcome, attempt.provider_message_id) == (Outcome.FOUND, "m7")


@pytest.mark.parametrize(
    "later",
    [
        ACCEPTED,
        Finish(status=Status.UNKNOWN, outcome=Outcome.DOUBT, provider="p1", delay_seconds=30),
        Finish(status=Status.RETRYING, outcome=Outcome.TRANSIENT, provider="p1", delay_seconds=1),
        Finish(status=Status.FAILED, outcome=Outcome.PERMANENT, provider="p1"),
    ],
    ids=lambda finish: finish.status.value,
)
def test_a_worker_that_finishes_after_the_callback_moves_nothing_back(stores, store, later):
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)
    tell(store, an_event(reset_id, EventType.DELIVERED))

    assert stores.resets.finish(claim, later)
    assert stores.resets.finish(claim, later)  # its answer was lost

    reset = stores.resets.find(reset_id)
    assert reset.status is Status.DELIVERED
    assert reset.next_look_at is None
    assert stores.due_at(reset_id) is None
    is_taken = later.outcome is Outcome.ACCEPTED
    assert reset.attempts[0].outcome is (Outcome.ACCEPTED if is_taken else Outcome.FOUND)
    assert reset.attempts[0].provider_message_id == "m1"
    assert stores.counted_now() == {}


def test_a_claim_held_while_the_callback_comes_cannot_send_any_more(stores, store):
    reset_id = stores.record()
    stores.doubt(reset_id)
    claim = stores.resets.claim(reset_id)
    tell(store, an_event(reset_id, EventType.ACCEPTED))

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)
    assert not stores.resets.finish(
        claim, Finish(status=Status.UNKNOWN, reason="claim_over", delay_seconds=0)
    )

    assert stores.status(reset_id) is Status.ACCEPTED


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (EventType.DELIVERED, EventType.ACCEPTED),
        (EventType.DELIVERED, EventType.DEFERRED),
        (EventType.UNDELIVERED, EventType.DEFERRED),
        (EventType.UNDELIVERED, EventType.DELIVERED),
        (EventType.FAILED, EventType.DELIVERED),
    ],
)
def test_what_was_said_before_or_late_revises_nothing(stores, store, first, then):
    reset_id = an_accepted(stores)
    tell(store, an_event(reset_id, first))
    before = stores.status(reset_id)

    tell(store, an_event(reset_id, then))

    assert stores.status(reset_id) is before


@pytest.mark.parametrize("end", [Status.FAILED, Status.SUPPRESSED, Status.CANCELLED])
def test_what_ended_otherwise_only_gets_an_event(stores, store, end):
    reset_id = stores.record()
    stores.resets.finish(stores.resets.claim(reset_id), Finish(status=end, reason="why"))

    tell(store, an_event(reset_id))

    assert stores.status(reset_id) is end
    assert kinds_of(stores, reset_id) == ["delivered"]


def test_a_code_that_was_returned_was_sent_by_nobody(stores, store):
    reset_id = stores.record(kind=Kind.RETURNED)

    tell(store, an_event(reset_id))

    assert stores.status(reset_id) is Status.ACCEPTED


def test_a_copy_that_failed_says_nothing_of_the_one_that_was_taken(stores, store):
    reset_id = stores.record()
    stores.doubt(reset_id)
    stores.attempt(reset_id, provider_message_id="m2")

    tell(store, an_event(reset_id, EventType.UNDELIVERED, message_id="m1"))
    first, second = stores.resets.find(reset_id).attempts
    assert stores.status(reset_id) is Status.ACCEPTED
    assert (first.outcome, second.outcome) == (Outcome.FOUND, Outcome.ACCEPTED)

    tell(store, an_event(reset_id, EventType.DELIVERED, message_id="m2"))
    assert stores.status(reset_id) is Status.DELIVERED


def test_the_same_report_counts_once(stores, store):
    reset_id = an_accepted(stores)
    event = an_event(reset_id, EventType.COMPLAINED)

    tell(store, event, event)
    tell(store, event)

    assert kinds_of(stores, reset_id) == ["complained"]
    assert (counted(stores, "received"), counted(stores, "repeated")) == (1, 2)


@pytest.mark.parametrize("reset_id", ["0unknown", "zz", "", "a:b", "0{kt:03}", "0", "01", "0A"])
def test_a_report_on_no_reset_of_ours_is_counted(stores, store, client, reset_id):
    tell(store, an_event(reset_id))

    assert counted(stores, "unknown") == 1
    assert client.keys("*receipts") == []


def test_a_reset_that_is_gone_when_its_report_is_applied_is_counted(stores, store, client):
    reset_id = an_accepted(stores)
    (shard,) = store.receive("p1", [an_event(reset_id)])
    client.delete(keys.reset(reset_id))

    settled = store.settle(store.head(shard, most=1)[0])

    assert settled.before is None
    assert store.shards_waiting() == []
    assert counted(stores, "unknown") == 1
    assert client.exists(keys.reset(reset_id)) == 0


def test_reports_wait_until_they_are_applied(stores, store):
    ids = [an_accepted(stores, user_id=f"u{n}") for n in range(20)]

    shards = store.receive("p1", [an_event(each) for each in ids])

    assert set(store.shards_waiting()) == shards
    assert all(stores.status(each) is Status.ACCEPTED for each in ids)


def test_two_workers_at_one_list_apply_each_report_once(stores, store):
    reset_id = an_accepted(stores)
    (shard,) = store.receive("p1", [an_event(reset_id, EventType.COMPLAINED)])
    mine, theirs = store.head(shard, most=1)[0], store.head(shard, most=1)[0]

    assert store.settle(mine)
    assert store.settle(theirs) is None

    assert kinds_of(stores, reset_id) == ["complained"]


def test_a_full_list_asks_the_provider_to_say_it_again(stores, store, monkeypatch):
    reset_id = an_accepted(stores)
    monkeypatch.setattr(receipts, "MAX_WAITING", 1)
    store.receive("p1", [an_event(reset_id)])
    late = an_event(reset_id)

    with pytest.raises(StoreUnavailableError):
        store.receive("p1", [late])

    store.settle(store.head(keys.find_shard(reset_id), most=1)[0])
    assert store.receive("p1", [late])


def test_a_mail_deferred_for_days_is_one_line(stores, store):
    reset_id = an_accepted(stores)

    tell(store, *(an_event(reset_id, EventType.DEFERRED) for _ in range(60)))
    tell(store, an_event(reset_id, EventType.DELIVERED))

    assert kinds_of(stores, reset_id) == ["deferred", "delivered"]


def test_an_event_stands_at_the_moment_the_provider_names(stores, store):
    reset_id = an_accepted(stores)
    at_ms = int(time.time() * 1000) - 3 * 3600 * 1000

    tell(store, an_event(reset_id, at_ms=at_ms))

    assert stores.resets.find(reset_id).events[0].at.timestamp() * 1000 == at_ms


def test_an_event_of_tomorrow_is_of_now(stores, store):
    reset_id = an_accepted(stores)

    tell(store, an_event(reset_id, at_ms=int(stores.now_ms()) + 86_400_000))

    assert stores.resets.find(reset_id).events[0].at.timestamp() * 1000 <= stores.now_ms()


def test_the_way_to_the_recipient_is_measured(stores, store, client):
    reset_id = an_accepted(stores)
    created_us = int(stores.field(reset_id, "c"))
    client.hset(keys.reset(reset_id), "c", created_us - 45_000_000)

    tell(store, an_event(reset_id))

    totals = stores.counters.totals()
    assert totals["d:email:p1:b60000"] == 1
    assert 45_000 <= totals["d:email:p1:ms"] < 60_000


def test_an_undelivered_reset_lets_the_user_ask_again_at_once(stores, store):
    reset_id = stores.record(cooldown_seconds=60)
    stores.attempt(reset_id, provider_message_id="m1")

    tell(store, an_event(reset_id, EventType.UNDELIVERED, reason="bounce"))

    assert stores.reason(reset_id) == "bounce"
    assert stores.record(cooldown_seconds=60)
    assert reset_id in stores.live()  # an earlier copy may have arrived


def test_a_reset_of_a_batch_leaves_its_own_due_set(stores, store):
    reset_id = stores.record(queue=Queue.BULK)

    tell(store, an_event(reset_id, EventType.ACCEPTED))

    assert stores.due_at(reset_id, Queue.BULK) is None


def test_a_notice_has_a_way_of_its_own(stores, store):
    stores.complete(an_accepted(stores))
    (notice,) = [
        key.rpartition(":")[2]
        for key in stores.client.scan_iter("{kt:*}:r:*")
        if stores.client.hget(key, "k") == "notice"
    ]

    tell(store, an_event(notice, EventType.UNDELIVERED))

    assert stores.status(notice) is Status.UNDELIVERED


def test_when_a_provider_called_last_is_known(stores, store):
    before = int(stores.now_ms())
    for number in range(5):
        tell(store, an_event(an_accepted(stores, user_id=f"u{number}")))

    assert before <= stores.counters.totals()["last:p1"] <= stores.now_ms()


def test_an_sms_is_measured_by_itself(stores, store):
    reset_id = an_accepted(stores, channel=Channel.SMS)

    tell(store, an_event(reset_id))

    assert stores.counters.totals()["d:sms:p1:b1000"] == 1


def test_a_batch_counts_what_became_of_its_resets_in_the_end(stores, store):
    batches = BatchStore(stores.client, Settings())
    arrived, bounced = (an_accepted(stores, user_id=u, extra={"b": "b1"}) for u in ("ada", "bob"))
    before = batches.ends("b1")

    tell(store, an_event(arrived))
    tell(store, an_event(bounced, EventType.UNDELIVERED, reason="bounce"))
    tell(store, an_event(arrived))

    assert before == {(Status.ACCEPTED, ""): 2}
    assert batches.ends("b1") == {(Status.DELIVERED, ""): 1, (Status.UNDELIVERED, "bounce"): 1}
