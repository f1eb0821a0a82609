"""What is paused waits and costs little; what is resumed goes, at once or at a pace."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shared.models import Channel, Queue, Status
from shared.store import keys
from shared.store.admin.pauses import Scope
from shared.store.resets import ClaimOverError, Finish
from tests.support.delivery_services import some_delivery_services
from tests.support.waiting import HANG_SECONDS, a_wait
from worker import pauses
from worker.pauses import PauseKeeper
from worker.routing import PauseView

WHO = {"by": "eve", "reason": "a test"}
LATER_MS = 10_000


@pytest.fixture(autouse=True)
def _one_step_is_enough(monkeypatch):
    monkeypatch.setattr(pauses, "STEP_SECONDS", HANG_SECONDS)


@pytest.fixture
def worker(client):
    return some_delivery_services(client)


class Keeper:
    """The chores of a worker that serves both queues, at a time of the test's own."""

    def __init__(self, worker, name="w1"):
        self.services, self.stores, self.ahead_ms = worker.services, worker.stores, 0
        self.keeper = PauseKeeper(
            self.services.pauses,
            self.services.waiting,
            (Queue.URGENT, Queue.BULK),
            worker=name,
            now=lambda: self.stores.now_ms() + self.ahead_ms,
        )

    def park(self):
        return self.keeper.park()

    def let_go(self):
        """Walks until the releases are over."""
        number = self.keeper.let_go()
        self.ahead_ms = LATER_MS
        while self.services.pauses.releases():
            number += self.keeper.let_go()
        return number


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.QUEUE, "urgent"), (Scope.CHANNEL, "email"), (Scope.ORGANISATION, "acme")],
)
def test_what_is_paused_is_not_handed_over(worker, scope, name):
    worker.services.pauses.pause(scope, name, **WHO)
    reset_id = worker.record()

    assert worker.deliver(reset_id) == "queued"

    assert worker.look(reset_id).reason == f"paused_{scope}"
    assert worker.providers[Channel.EMAIL][0].messages == []
    assert worker.wait_seconds(reset_id) >= 590


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.QUEUE, "bulk"), (Scope.CHANNEL, "sms"), (Scope.ORGANISATION, "beta")],
)
def test_what_is_not_paused_goes_on(worker, scope, name):
    worker.services.pauses.pause(scope, name, **WHO)

    assert worker.deliver(worker.record()) == "accepted"


def test_what_is_due_is_parked_without_a_claim(worker):
    ids = [worker.record(user_id=f"u{n}") for n in range(30)]
    other = worker.record(user_id="x", org_id="beta")
    worker.services.pauses.pause(Scope.ORGANISATION, "acme", **WHO)

    assert Keeper(worker).park() == 30

    assert min(worker.wait_seconds(reset_id) for reset_id in ids) >= 590
    assert worker.wait_seconds(other) <= 0
    assert {worker.look(reset_id).reason for reset_id in ids} == {"paused_organisation"}


def test_parking_fences_off_a_claim_that_lapsed(worker):
    reset_id = worker.record()
    claim = worker.services.resets.claim(reset_id)
    worker.stores.make_due(reset_id)
    worker.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    Keeper(worker).park()

    assert not worker.services.resets.finish(claim, _retry())


def test_a_claim_under_way_is_not_parked(worker):
    reset_id = worker.record()
    worker.services.resets.claim(reset_id)
    worker.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    assert Keeper(worker).park() == 0


def test_the_deadline_ends_what_is_paused_and_says_so(worker):
    reset_id = worker.record()
    worker.services.pauses.pause(Scope.CHANNEL, "email", **WHO)
    worker.deliver(reset_id)
    worker.stores.end_in(reset_id, -1)
    worker.stores.make_due(reset_id)

    assert Keeper(worker).park() == 0
    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.EXPIRED,
        "paused_channel",
    )


def test_no_look_lies_between_the_last_start_and_the_deadline(worker):
    reset_id = worker.record(lifetime_seconds=900)
    worker.services.pauses.pause(Scope.CHANNEL, "email", **WHO)

    Keeper(worker).park()

    assert worker.wait_seconds(reset_id) == a_wait(900, 10)


def test_what_is_resumed_is_due_at_once(worker):
    ids = [worker.record(user_id=f"u{n}") for n in range(20)]
    pauses = worker.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", **WHO)

    assert keeper.let_go() == 20

    assert max(worker.wait_seconds(reset_id) for reset_id in ids) <= 0
    assert pauses.releases() == []


def test_a_provider_that_is_resumed_gets_what_waited_for_it(worker):
    reset_id = worker.record()
    pauses = worker.services.pauses
    pauses.pause(Scope.PROVIDER, "p1", **WHO)
    assert worker.deliver(reset_id) == "queued"
    assert worker.wait_seconds(reset_id) > 5
    pauses.resume(Scope.PROVIDER, "p1", **WHO)

    assert Keeper(worker).let_go() == 1

    assert worker.wait_seconds(reset_id) <= 0


def test_what_waits_for_another_reason_stays(worker):
    paused, retried = worker.record(), worker.record(user_id="bob")
    worker.stores.retry(retried)
    before = _set_due(worker, retried, seconds=300)
    pauses = worker.services.pauses
    pauses.pause(Scope.CHANNEL, "email", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    pauses.resume(Scope.ORGANISATION, "acme", **WHO)

    assert keeper.let_go() == 0

    assert worker.stores.due_at(retried) == before
    assert worker.wait_seconds(paused) > 500


def test_a_claim_keeps_its_lease_through_a_release(worker):
    reset_id = worker.record()
    pauses = worker.services.pauses
    pauses.pause(Scope.CHANNEL, "email", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    worker.stores.make_due(reset_id)
    worker.services.resets.claim(reset_id)
    pauses.resume(Scope.CHANNEL, "email", **WHO)

    assert keeper.let_go() == 0

    assert worker.wait_seconds(reset_id) > 50


def test_a_paced_release_spreads_what_waits(worker):
    ids = [worker.record(user_id=f"u{n}") for n in range(20)]
    pauses = worker.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", per_second=2, **WHO)

    keeper.let_go()

    turns = sorted(worker.stores.due_at(reset_id) for reset_id in ids)
    assert turns[-1] - turns[0] == pytest.approx(9500, abs=3000)
    assert {b - a for a, b in pairwise(turns[8:])} == {500}
    assert {worker.look(reset_id).reason for reset_id in ids} == {"paced"}


def test_what_cannot_have_its_turn_in_time_is_counted(worker):
    for number in range(10):
        worker.record(user_id=f"u{number}", lifetime_seconds=600, last_start_seconds=100)
    pauses = worker.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", per_second=0.011, **WHO)

    keeper.keeper.let_go()

    (release,) = pauses.releases()
    assert (release.moved, release.too_late) == (10, 4)


def test_a_second_release_changes_the_pace(worker):
    ids = [worker.record(user_id=f"u{n}") for n in range(5)]
    pauses = worker.services.pauses
    pauses.pause(Scope.QUEUE, "urgent", **WHO)
    keeper = Keeper(worker)
    keeper.park()
    pauses.resume(Scope.QUEUE, "urgent", per_second=0.01, **WHO)
    keeper.let_go()
    keeper.ahead_ms = 0

    pauses.resume(Scope.QUEUE, "urgent", **WHO)

    assert keeper.let_go() == 5
    assert max(worker.wait_seconds(reset_id) for reset_id in ids) <= 0


def test_one_worker_lets_go_at_a_time(worker):
    worker.services.pauses.resume(Scope.QUEUE, "urgent", **WHO)

    assert worker.services.waiting.may_let_go("w1")

    assert not worker.services.waiting.may_let_go("w2")
    assert worker.services.waiting.may_let_go("w1")


def test_a_pause_ends_the_release_under_way(worker):
    pauses = worker.services.pauses
    pauses.resume(Scope.QUEUE, "urgent", **WHO)

    pauses.pause(Scope.QUEUE, "urgent", **WHO)

    assert pauses.releases() == []


def test_the_view_of_a_worker_is_a_second_old_at_most(worker):
    now = [0.0]
    view = PauseView(worker.services.pauses, clock=lambda: now[0])
    assert view.all() == ()
    worker.services.pauses.pause(Scope.QUEUE, "bulk", **WHO)

    now[0] = 0.9
    assert view.all() == ()
    now[0] = 1.1

    assert [pause.name for pause in view.all()] == ["bulk"]


def test_what_is_held_does_not_go_out_until_it_is_released(worker):
    reset_id = worker.record()
    waiting = worker.services.waiting
    assert waiting.hold(reset_id, **WHO) == "held"

    assert worker.deliver(reset_id) == "nothing due"
    assert waiting.release(reset_id, **WHO) == "released"
    assert worker.deliver(reset_id) == "accepted"

    events = [(event.type, event.detail) for event in worker.look(reset_id).events]
    assert events == [("held", "by eve: a test"), ("released", "by eve: a test")]


def test_a_hold_stops_a_claim_that_has_not_reached_the_socket(worker):
    reset_id = worker.record()
    claim = worker.services.resets.claim(reset_id)
    worker.services.waiting.hold(reset_id, **WHO)

    with pytest.raises(ClaimOverError):
        worker.stores.mark_sending(claim)


def test_what_was_handed_over_cannot_be_held(worker):
    reset_id = worker.record()
    worker.deliver(reset_id)

    assert worker.services.waiting.hold(reset_id, **WHO) == "accepted"
    assert worker.services.waiting.release(reset_id, **WHO) == "free"
    assert worker.services.waiting.hold("0" + "x" * 26, **WHO) == "absent"


def test_what_is_held_until_its_code_ends_says_so(worker):
    reset_id = worker.record()
    worker.services.waiting.hold(reset_id, **WHO)
    worker.stores.end_in(reset_id, -1)
    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.EXPIRED,
        "held",
    )


def _retry():
    return Finish(status=Status.RETRYING, delay_seconds=1)


def _set_due(worker, reset_id, *, seconds):
    at = int(worker.stores.now_ms() + seconds * 1000)
    key = keys.due(keys.tag_of(reset_id), Queue.URGENT)
    worker.stores.client.zadd(key, {reset_id: at})
    return at
