"""Feeding a batch: planned, recorded at its pace, never twice, whoever dies in between."""

from __future__ import annotations

import time

import pytest

from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.guard.rules import Budget
from shared.models import Channel, Queue, Status
from shared.queue import Hint, Task
from shared.store.batches import BatchAction, BatchState
from shared.store.batches.lists import ListEntry
from shared.store.suppressions import SuppressionStore
from tests.support.batch_builders import a_batch
from tests.support.builders import a_user, an_organisation
from tests.support.delivery_services import a_renderer, some_delivery_services
from tests.support.sender_builders import TWILIO, save_sender
from tests.support.waiting import a_wait
from worker.batches import feeder as feeding
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(feeding, "FEED_SECONDS", 0.5)
    monkeypatch.setattr(feeding, "WAIT_SECONDS", 0.01)


@pytest.fixture
def worker(client, logs):
    worker = some_delivery_services(client)
    an_organisation(worker.services, "beta")
    return worker


def feeder(worker, **parts):
    services = worker.with_services(**parts).services
    return BatchFeeder(services, Estimate(services, a_renderer(services.settings)))


def feed(worker, batch_id="b1", **parts):
    return feeder(worker, **parts).feed(batch_id)


def people(worker, number, **fields):
    return [
        a_user(worker.services, f"user-{n}", email=f"user-{n}@example.com", **fields)
        for n in range(number)
    ]


def found(worker, batch_id="b1"):
    return worker.services.batches.find(batch_id)


def due(worker):
    return worker.services.dues.look(Queue.BULK).waiting


def reset_of(worker, user_id, batch_id="b1"):
    return worker.look(worker.services.batch_resets.reset_id(user_id, batch_id))


def everybody_but_one(worker):
    """A list with one user for every reason to leave somebody out, and ada."""
    stores = worker.services
    a_user(stores, "bob", orgId="beta")
    a_user(stores, "initial", state="initial")
    a_user(stores, "robot", kind="machine")
    a_user(stores, "locked", state="locked")
    a_user(stores, "mute", email=None)
    a_user(stores, "bounced", email="bounced@example.com")
    stores.suppressions.add(
        stores.directory.find_user("bounced").email, reason="bounce", source="test"
    )
    a_user(stores, "waiting", email="waiting@example.com")
    worker.record("waiting")
    return (
        "ada",
        "nobody",
        "bob",
        "initial",
        "robot",
        "locked",
        "mute",
        "bounced",
        "waiting",
        "ada",
    )


SKIPPED = {
    "unknown_user": 2, "not_initialised": 1, "machine": 1, "inactive": 1,
    "no_address": 1, "suppressed": 1, "newer_reset": 1, "duplicate": 1,
}  # fmt: skip


def test_a_batch_records_a_reset_for_each_of_its_users(worker):
    users = people(worker, 3)
    a_batch(worker.services, *users)

    feed(worker)

    resets = [reset_of(worker, user_id) for user_id in users]
    assert [(r.queue, r.batch_id, r.status) for r in resets] == [
        (Queue.BULK, "b1", Status.QUEUED)
    ] * 3
    assert (found(worker).recorded, found(worker).is_fed) == (3, True)


def test_a_reset_of_a_batch_has_the_users_language_and_a_code_of_full_life(worker):
    a_user(worker.services, language="de")
    a_batch(worker.services, "ada")

    feed(worker)

    reset = reset_of(worker, "ada")
    assert reset.language == "de"
    assert (reset.deadline_at - reset.created_at).total_seconds() == pytest.approx(3600, abs=1)


def test_whoever_gets_nothing_is_counted_by_reason_and_told_by_place(worker):
    a_batch(worker.services, *everybody_but_one(worker), org_ids=frozenset({"acme"}))

    feed(worker)

    batch = found(worker)
    told = worker.services.batch_lists.skips("b1", 0)
    assert (batch.skipped, batch.recorded) == (SKIPPED, 1)
    assert told == {
        1: "unknown_user", 2: "unknown_user", 3: "not_initialised", 4: "machine", 5: "inactive",
        6: "no_address", 7: "suppressed", 8: "newer_reset", 9: "duplicate",
    }  # fmt: skip


def test_a_plan_counts_and_records_nothing(worker):
    a_user(worker.services, language="fr")
    names = everybody_but_one(worker)
    before = due(worker)
    a_batch(worker.services, *names, state=BatchState.PLANNING, org_ids=frozenset({"acme"}))

    word = feed(worker)

    batch = found(worker)
    assert (word, batch.state) == ("planned", BatchState.PLANNED)
    assert batch.plan == {"send": 1, "org:acme": 1, "language:fr": 1} | {
        f"skip:{why}": number for why, number in SKIPPED.items()
    }
    assert (due(worker), batch.recorded, batch.next_list) == (before, 0, 0)


def test_a_plan_of_sms_tells_segments_countries_and_cost(client, logs):
    prices = (("CH", 0.07), ("*", 0.1))
    worker = some_delivery_services(client, sms_prices=prices)
    a_user(worker.services, "german", phone="+4915112345678")
    a_user(worker.services, "mute", phone=None)
    a_batch(
        worker.services, "ada", "german", "mute", state=BatchState.PLANNING, channel=Channel.SMS
    )

    feed(worker)

    plan = found(worker).plan
    assert (plan["country:CH"], plan["country:DE"], plan["skip:no_address"]) == (1, 1, 1)
    assert (plan["segments"], plan["cost"]) == (2, 170_000)


def test_what_has_no_price_is_told_apart(client, logs):
    worker = some_delivery_services(client, sms_prices=(("DE", 0.07),))
    a_batch(worker.services, "ada", state=BatchState.PLANNING, channel=Channel.SMS)

    feed(worker)

    assert found(worker).plan["unpriced"] == 1
    assert "cost" not in found(worker).plan


def test_a_plan_that_is_started_sends_to_those_it_counted(worker):
    users = people(worker, 2)
    a_batch(worker.services, *users, users[0], state=BatchState.PLANNING)
    feed(worker)

    worker.services.batches.change(found(worker), BatchAction.START)
    feed(worker)

    assert (found(worker).recorded, found(worker).skipped) == (2, {"duplicate": 1})


def test_a_batch_ends_when_the_last_of_its_resets_has(worker, logs):
    a_batch(worker.services, "ada", "nobody")
    feed(worker)
    before = found(worker).state

    worker.deliver(reset_of(worker, "ada").reset_id)
    word = feed(worker)

    assert before is BatchState.RUNNING
    assert (word, found(worker).state) == ("finished", BatchState.FINISHED)
    assert [line["event"] for line in logs][-1] == "batch.finished"


@pytest.mark.parametrize("dies_at", ["record", "note_skips", "advance"])
def test_a_worker_that_dies_in_a_step_costs_nothing_and_repeats_nothing(worker, dies_at):
    users = people(worker, 3)
    a_batch(worker.services, *users, "nobody")
    place = {"record": "batch_resets", "note_skips": "batch_lists", "advance": "batches"}[dies_at]

    word = feed(worker, **{place: Dying(getattr(worker.services, place), dies_at)})
    worker.services.batches._client.hset("{kt:gate}:batch:b1", "lu", 0)  # its lease is over
    feed(worker)

    batch = found(worker)
    assert word == "store unavailable"
    assert (batch.recorded, batch.skipped) == (3, {"unknown_user": 1})
    assert due(worker) == 3


class Dying:
    """A store that fails after one of its steps was done."""

    def __init__(self, store, step):
        self._store, self._step = store, step

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name != self._step:
            return method

        def die(*arguments, **fields):
            if name != "advance":
                method(*arguments, **fields)
            raise StoreUnavailableError

        return die


def test_a_batch_waits_while_the_bulk_queue_is_full(worker, monkeypatch):
    monkeypatch.setattr(feeding, "MAX_DUE", 4)
    users = people(worker, 6)
    a_batch(worker.services, *users)

    feed(worker)
    waiting = due(worker)
    for user_id in users[:3]:
        worker.deliver(reset_of(worker, user_id).reset_id)
    feed(worker)

    assert waiting == 4
    assert found(worker).is_fed


def test_a_pace_is_kept(worker):
    a_batch(worker.services, *people(worker, 30), rate_per_second=20.0)
    began = time.monotonic()

    feed(worker)

    took = time.monotonic() - began
    assert 1 <= found(worker).recorded <= 20 * took + 1


def test_nothing_is_fed_once_a_batch_is_paused(worker):
    a_batch(worker.services, *people(worker, 3))
    worker.services.batches.change(found(worker), BatchAction.PAUSE)

    assert feed(worker) == "nothing to do"
    assert due(worker) == 0


def test_a_directory_that_is_away_stops_a_batch_for_a_moment(worker):
    class Away:
        def find_users(self, _user_ids):
            raise DirectoryUnavailableError

    a_batch(worker.services, "ada")

    feed(worker, directory=Away())
    nothing = due(worker)
    feed(worker)

    assert (nothing, due(worker)) == (0, 1)


def test_the_days_budget_of_sms_holds_a_batch_back(client, logs):
    worker = some_delivery_services(client, sms_budget_per_day=2)
    users = people(worker, 4)
    a_batch(worker.services, *users, channel=Channel.SMS)

    feed(worker)
    feed(worker)

    assert found(worker).recorded == 2
    assert not found(worker).is_fed
    assert "reset.limited" in [line["event"] for line in logs]


def test_a_countrys_budget_in_money_holds_a_batch_back(client, logs):
    budgets = (Budget("country", 0.25, "EUR", "day"),)
    worker = some_delivery_services(client, sms_budgets=budgets, sms_prices=(("*", 0.1),))
    a_batch(worker.services, *people(worker, 4), channel=Channel.SMS)

    feed(worker)

    assert found(worker).recorded == 2


def test_a_batch_of_sms_trips_no_rule(client, logs):
    worker = some_delivery_services(client)
    users = [
        a_user(worker.services, f"user-{n}", email=None, phone=f"+88017123450{n:02}")
        for n in range(30)
    ]
    a_batch(worker.services, *users, channel=Channel.SMS)

    feed(worker)

    assert found(worker).recorded == 30
    assert worker.services.prefixes.list_states() == []


def test_an_organisation_with_its_own_account_needs_no_budget(client):
    worker = some_delivery_services(client, sms_budget_per_day=1)
    save_sender(worker.services, {"sms": {"twilio": TWILIO, "countries": ["CH"]}})
    a_batch(worker.services, *people(worker, 3), channel=Channel.SMS)

    feed(worker)

    assert found(worker).recorded == 3


def test_a_list_that_is_lost_is_counted_and_said(worker, logs):
    batch = a_batch(worker.services, *people(worker, 2))
    worker.services.batch_lists.drop(batch.list_id, batch.lists)

    feed(worker)

    assert found(worker).skipped == {"list_lost": 2}
    assert "batch.list_lost" in [line["event"] for line in logs]


def test_a_filter_leaves_alone_whoever_moved_on_since(worker):
    sent = worker.record("ada")
    worker.deliver(sent)
    made_ms = int(worker.look(sent).created_at.timestamp() * 1000)
    written = worker.services.batch_lists.write([ListEntry("ada", made_ms - 5)])
    a_batch(worker.services, "x", list_id=written.list_id)

    feed(worker)

    assert found(worker).skipped == {"newer_reset": 1}


def test_every_sweep_hints_at_batches_with_work(worker):
    a_batch(worker.services, "ada")

    number = feeder(worker).hint()

    assert number == 1
    assert worker.services.hints.published == [Hint("b1", Task.FEED_BATCH, Queue.BULK)]


def test_a_paused_batch_sends_nothing_that_was_queued(worker):
    a_batch(worker.services, "ada")
    feed(worker)
    worker.services.batches.change(found(worker), BatchAction.PAUSE)
    reset_id = reset_of(worker, "ada").reset_id

    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason) == (Status.QUEUED, "batch_paused")
    assert worker.providers[Channel.EMAIL][0].messages == []
    wait_ms = worker.stores.due_at(reset_id, Queue.BULK) - worker.stores.now_ms()
    assert 1000 < wait_ms < 4000


def test_a_pause_costs_nobody_its_code(worker):
    a_batch(worker.services, "ada")
    feed(worker)
    reset_id = reset_of(worker, "ada").reset_id
    worker.stores.end_in(reset_id, 700)
    worker.services.batches.change(found(worker), BatchAction.PAUSE)

    worker.deliver(reset_id)

    left = worker.look(reset_id).deadline_at.timestamp() - worker.stores.now_ms() / 1000
    assert left == a_wait(3600, 5)
    assert worker.stores.live() == {reset_id}
    assert worker.services.code_store.list_known("ada")[0].is_live


def test_what_was_tried_before_a_pause_keeps_its_deadline(worker):
    a_batch(worker.services, "ada")
    feed(worker)
    reset_id = reset_of(worker, "ada").reset_id
    worker.stores.claim_sending(reset_id)
    worker.stores.make_due(reset_id, Queue.BULK)
    before = worker.look(reset_id).deadline_at
    worker.services.batches.change(found(worker), BatchAction.PAUSE)

    worker.deliver(reset_id)

    assert worker.look(reset_id).deadline_at == before
    assert worker.services.batch_resets.refresh(reset_id, 60) is False


def test_a_resumed_batch_sends_what_was_queued(worker):
    a_batch(worker.services, "ada")
    feed(worker)
    for verb in (BatchAction.PAUSE, BatchAction.RESUME):
        worker.services.batches.change(found(worker), verb)

    worker.deliver(reset_of(worker, "ada").reset_id)

    assert reset_of(worker, "ada").status is Status.ACCEPTED


def test_a_cancelled_batch_sends_nothing_that_was_queued(worker):
    a_batch(worker.services, "ada", "bob")
    a_user(worker.services, "bob")
    feed(worker)
    worker.deliver(reset_of(worker, "bob").reset_id)
    worker.services.batches.change(found(worker), BatchAction.CANCEL)

    worker.deliver(reset_of(worker, "ada").reset_id)

    assert len(worker.providers[Channel.EMAIL][0].messages) == 1
    assert worker.services.batches.ends("b1") == {
        (Status.ACCEPTED, ""): 1,
        (Status.CANCELLED, "batch_cancelled"): 1,
    }


def test_a_doubtful_reset_of_a_cancelled_batch_gets_no_second_copy(worker):
    a_batch(worker.services, "ada")
    feed(worker)
    reset_id = reset_of(worker, "ada").reset_id
    worker.stores.claim_sending(reset_id)
    worker.stores.make_due(reset_id, Queue.BULK)
    worker.services.batches.change(found(worker), BatchAction.CANCEL)

    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "batch_cancelled")
    assert worker.providers[Channel.EMAIL][0].messages == []
    due_at = worker.stores.due_at(reset_id, Queue.BULK)
    assert due_at / 1000 == pytest.approx(reset.deadline_at.timestamp(), abs=1)


def test_many_recipients_are_asked_about_in_one_trip(worker):
    assert isinstance(worker.services.suppressions, SuppressionStore)
    services = worker.services
    a_user(services, "bob", email="bob@example.com")
    both = [services.directory.find_user(name).email for name in ("ada", "bob")]
    services.suppressions.add(both[1], reason="bounce", source="test")

    assert services.suppressions.are_suppressed(both) == [False, True]
