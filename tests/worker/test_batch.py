"""Feeding a batch: planned, recorded at its pace, never twice, whoever dies in between."""

from __future__ import annotations

import time

import pytest

from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.hints import Hint, Task
from shared.models import Channel, Queue, Status
from shared.store.batch_lists import Entry
from shared.store.batch_records import BatchState, Verb
from shared.store.suppressions import SuppressionStore
from tests.batch_builders import a_batch
from tests.builders import a_user, an_organisation
from tests.delivery_house import a_delivery_house, a_renderer
from worker import batch as feeding
from worker.batch import BatchFeeder
from worker.batch_estimate import Estimate


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(feeding, "FEED_SECONDS", 0.5)
    monkeypatch.setattr(feeding, "WAIT_SECONDS", 0.01)


@pytest.fixture
def house(client, logs):
    house = a_delivery_house(client)
    an_organisation(house.services, "beta")
    return house


def feeder(house, **parts):
    services = house.with_services(**parts).services
    return BatchFeeder(services, Estimate(services, a_renderer(services.settings)))


def feed(house, batch_id="b1", **parts):
    return feeder(house, **parts).feed(batch_id)


def people(house, number, **facts):
    return [
        a_user(house.services, f"user-{n}", email=f"user-{n}@example.com", **facts)
        for n in range(number)
    ]


def found(house, batch_id="b1"):
    return house.services.batches.find(batch_id)


def due(house):
    return house.services.dues.look(Queue.BULK).waiting


def reset_of(house, user_id, batch_id="b1"):
    return house.look(house.services.batch_resets.reset_id(user_id, batch_id))


def everybody_but_one(house):
    """A list with one user for every reason to leave somebody out, and ada."""
    services = house.services
    a_user(services, "bob", orgId="beta")
    a_user(services, "initial", state="initial")
    a_user(services, "robot", kind="machine")
    a_user(services, "locked", state="locked")
    a_user(services, "mute", email=None)
    a_user(services, "bounced", email="bounced@example.com")
    services.suppressions.add(
        services.directory.find_user("bounced").email, reason="bounce", source="test"
    )
    a_user(services, "waiting", email="waiting@example.com")
    house.record("waiting")
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
    "unknown_user": 1, "not_yours": 1, "not_initialised": 1, "machine": 1, "inactive": 1,
    "no_address": 1, "suppressed": 1, "newer_reset": 1, "duplicate": 1,
}  # fmt: skip


def test_a_batch_records_a_reset_for_each_of_its_users(house):
    users = people(house, 3)
    a_batch(house.services, *users)

    feed(house)

    resets = [reset_of(house, user_id) for user_id in users]
    assert [(r.queue, r.batch_id, r.status) for r in resets] == [
        (Queue.BULK, "b1", Status.QUEUED)
    ] * 3
    assert (found(house).recorded, found(house).is_fed) == (3, True)


def test_a_reset_of_a_batch_has_the_users_language_and_a_code_of_full_life(house):
    a_user(house.services, language="de")
    a_batch(house.services, "ada")

    feed(house)

    reset = reset_of(house, "ada")
    assert reset.language == "de"
    assert (reset.deadline_at - reset.created_at).total_seconds() == pytest.approx(3600, abs=1)


def test_whoever_gets_nothing_is_counted_by_reason_and_told_by_place(house):
    a_batch(house.services, *everybody_but_one(house), org_ids=frozenset({"acme"}))

    feed(house)

    batch = found(house)
    told = house.services.batch_lists.skips("b1", 0)
    assert (batch.skipped, batch.recorded) == (SKIPPED, 1)
    assert told == {
        1: "unknown_user", 2: "not_yours", 3: "not_initialised", 4: "machine", 5: "inactive",
        6: "no_address", 7: "suppressed", 8: "newer_reset", 9: "duplicate",
    }  # fmt: skip


def test_a_plan_counts_and_records_nothing(house):
    a_user(house.services, language="fr")
    names = everybody_but_one(house)
    before = due(house)
    a_batch(house.services, *names, state=BatchState.PLANNING, org_ids=frozenset({"acme"}))

    word = feed(house)

    batch = found(house)
    assert (word, batch.state) == ("planned", BatchState.PLANNED)
    assert batch.plan == {"send": 1, "org:acme": 1, "language:fr": 1} | {
        f"skip:{why}": number for why, number in SKIPPED.items()
    }
    assert (due(house), batch.recorded, batch.next_list) == (before, 0, 0)


def test_a_plan_of_sms_tells_segments_countries_and_cost(client, logs):
    prices = (("CH", 0.07), ("*", 0.1))
    house = a_delivery_house(client, sms_prices=prices)
    a_user(house.services, "german", phone="+4915112345678")
    a_user(house.services, "mute", phone=None)
    a_batch(house.services, "ada", "german", "mute", state=BatchState.PLANNING, channel=Channel.SMS)

    feed(house)

    plan = found(house).plan
    assert (plan["country:CH"], plan["country:DE"], plan["skip:no_address"]) == (1, 1, 1)
    assert (plan["segments"], plan["cost"]) == (2, 170_000)


def test_what_has_no_price_is_told_apart(client, logs):
    house = a_delivery_house(client, sms_prices=(("DE", 0.07),))
    a_batch(house.services, "ada", state=BatchState.PLANNING, channel=Channel.SMS)

    feed(house)

    assert found(house).plan["unpriced"] == 1
    assert "cost" not in found(house).plan


def test_a_plan_that_is_started_sends_to_those_it_counted(house):
    users = people(house, 2)
    a_batch(house.services, *users, users[0], state=BatchState.PLANNING)
    feed(house)

    house.services.batches.change(found(house), Verb.START, by="eve", reason="go")
    feed(house)

    assert (found(house).recorded, found(house).skipped) == (2, {"duplicate": 1})


def test_a_batch_ends_when_the_last_of_its_resets_has(house, logs):
    a_batch(house.services, "ada", "nobody")
    feed(house)
    before = found(house).state

    house.deliver(reset_of(house, "ada").reset_id)
    word = feed(house)

    assert before is BatchState.RUNNING
    assert (word, found(house).state) == ("finished", BatchState.FINISHED)
    assert [line["event"] for line in logs][-1] == "batch.finished"


@pytest.mark.parametrize("dies_at", ["record", "note_skips", "advance"])
def test_a_worker_that_dies_in_a_step_costs_nothing_and_repeats_nothing(house, dies_at):
    users = people(house, 3)
    a_batch(house.services, *users, "nobody")
    place = {"record": "batch_resets", "note_skips": "batch_lists", "advance": "batches"}[dies_at]

    word = feed(house, **{place: Dying(getattr(house.services, place), dies_at)})
    house.services.batches._client.hset("{kt:gate}:batch:b1", "lu", 0)  # its lease is over
    feed(house)

    batch = found(house)
    assert word == "store unavailable"
    assert (batch.recorded, batch.skipped) == (3, {"unknown_user": 1})
    assert due(house) == 3


class Dying:
    """A store that fails after one of its steps was done."""

    def __init__(self, store, step):
        self._store, self._step = store, step

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name != self._step:
            return method

        def die(*arguments, **facts):
            if name != "advance":
                method(*arguments, **facts)
            raise StoreUnavailableError

        return die


def test_a_batch_waits_while_the_bulk_queue_is_full(house, monkeypatch):
    monkeypatch.setattr(feeding, "MOST_DUE", 4)
    users = people(house, 6)
    a_batch(house.services, *users)

    feed(house)
    waiting = due(house)
    for user_id in users[:3]:
        house.deliver(reset_of(house, user_id).reset_id)
    feed(house)

    assert waiting == 4
    assert found(house).is_fed


def test_a_pace_is_kept(house):
    a_batch(house.services, *people(house, 30), rate_per_second=20.0)
    began = time.monotonic()

    feed(house)

    took = time.monotonic() - began
    assert 1 <= found(house).recorded <= 20 * took + 1


def test_nothing_is_fed_once_a_batch_is_paused(house):
    a_batch(house.services, *people(house, 3))
    house.services.batches.change(found(house), Verb.PAUSE, by="eve", reason="wait")

    assert feed(house) == "nothing to do"
    assert due(house) == 0


def test_a_directory_that_is_away_stops_a_batch_for_a_moment(house):
    class Away:
        def find_users(self, _user_ids):
            raise DirectoryUnavailableError

    a_batch(house.services, "ada")

    feed(house, directory=Away())
    nothing = due(house)
    feed(house)

    assert (nothing, due(house)) == (0, 1)


def test_the_days_budget_of_sms_holds_a_batch_back(client, logs):
    house = a_delivery_house(client, sms_budget_per_day=2)
    users = people(house, 4)
    a_batch(house.services, *users, channel=Channel.SMS)

    feed(house)
    feed(house)

    assert found(house).recorded == 2
    assert not found(house).is_fed
    assert "reset.limited" in [line["event"] for line in logs]


def test_a_list_that_is_lost_is_counted_and_said(house, logs):
    batch = a_batch(house.services, *people(house, 2))
    house.services.batch_lists.drop(batch.list_id, batch.lists)

    feed(house)

    assert found(house).skipped == {"list_lost": 2}
    assert "batch.list_lost" in [line["event"] for line in logs]


def test_a_filter_leaves_alone_whoever_moved_on_since(house):
    sent = house.record("ada")
    house.deliver(sent)
    made_ms = int(house.look(sent).created_at.timestamp() * 1000)
    written = house.services.batch_lists.write([Entry("ada", made_ms - 5)])
    a_batch(house.services, "x", list_id=written.list_id)

    feed(house)

    assert found(house).skipped == {"newer_reset": 1}


def test_every_sweep_hints_at_batches_with_work(house):
    a_batch(house.services, "ada")

    number = feeder(house).hint()

    assert number == 1
    assert house.services.hints.published == [Hint("b1", Task.FEED_BATCH, Queue.BULK)]


def test_a_paused_batch_sends_nothing_that_was_queued(house):
    a_batch(house.services, "ada")
    feed(house)
    house.services.batches.change(found(house), Verb.PAUSE, by="eve", reason="wait")
    reset_id = reset_of(house, "ada").reset_id

    house.deliver(reset_id)

    reset = house.look(reset_id)
    assert (reset.status, reset.reason) == (Status.QUEUED, "batch_paused")
    assert house.providers[Channel.EMAIL][0].messages == []
    wait_ms = house.stores.due_at(reset_id, Queue.BULK) - house.stores.now_ms()
    assert 1000 < wait_ms < 4000


def test_a_pause_costs_nobody_its_code(house):
    a_batch(house.services, "ada")
    feed(house)
    reset_id = reset_of(house, "ada").reset_id
    house.stores.end_in(reset_id, 700)
    house.services.batches.change(found(house), Verb.PAUSE, by="eve", reason="wait")

    house.deliver(reset_id)

    left = house.look(reset_id).deadline_at.timestamp() - house.stores.now_ms() / 1000
    assert left == pytest.approx(3600, abs=5)
    assert house.stores.live() == {reset_id}
    assert house.services.code_store.list_known("ada")[0].is_live


def test_what_was_tried_before_a_pause_keeps_its_deadline(house):
    a_batch(house.services, "ada")
    feed(house)
    reset_id = reset_of(house, "ada").reset_id
    house.stores.claim_sending(reset_id)
    house.stores.make_due(reset_id, Queue.BULK)
    before = house.look(reset_id).deadline_at
    house.services.batches.change(found(house), Verb.PAUSE, by="eve", reason="wait")

    house.deliver(reset_id)

    assert house.look(reset_id).deadline_at == before
    assert house.services.batch_resets.refresh("ada", reset_id, 60) is False


def test_a_resumed_batch_sends_what_was_queued(house):
    a_batch(house.services, "ada")
    feed(house)
    for verb in (Verb.PAUSE, Verb.RESUME):
        house.services.batches.change(found(house), verb, by="eve", reason="x")

    house.deliver(reset_of(house, "ada").reset_id)

    assert reset_of(house, "ada").status is Status.ACCEPTED


def test_a_cancelled_batch_sends_nothing_that_was_queued(house):
    a_batch(house.services, "ada", "bob")
    a_user(house.services, "bob")
    feed(house)
    house.deliver(reset_of(house, "bob").reset_id)
    house.services.batches.change(found(house), Verb.CANCEL, by="eve", reason="stop")

    house.deliver(reset_of(house, "ada").reset_id)

    assert len(house.providers[Channel.EMAIL][0].messages) == 1
    assert house.services.batches.ends("b1") == {
        (Status.ACCEPTED, ""): 1,
        (Status.CANCELLED, "batch_cancelled"): 1,
    }


def test_a_doubtful_reset_of_a_cancelled_batch_gets_no_second_copy(house):
    a_batch(house.services, "ada")
    feed(house)
    reset_id = reset_of(house, "ada").reset_id
    house.stores.claim_sending(reset_id)
    house.stores.make_due(reset_id, Queue.BULK)
    house.services.batches.change(found(house), Verb.CANCEL, by="eve", reason="stop")

    house.deliver(reset_id)

    reset = house.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "batch_cancelled")
    assert house.providers[Channel.EMAIL][0].messages == []
    due_at = house.stores.due_at(reset_id, Queue.BULK)
    assert due_at / 1000 == pytest.approx(reset.deadline_at.timestamp(), abs=1)


def test_many_recipients_are_asked_about_in_one_trip(house):
    assert isinstance(house.services.suppressions, SuppressionStore)
    services = house.services
    a_user(services, "bob", email="bob@example.com")
    both = [services.directory.find_user(name).email for name in ("ada", "bob")]
    services.suppressions.add(both[1], reason="bounce", source="test")

    assert services.suppressions.are_suppressed(both) == [False, True]
