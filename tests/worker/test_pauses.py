"""What is paused waits and costs little; what is resumed goes, at once or at a pace."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shared.models import Channel, Queue, Status
from shared.store import keys
from shared.store.admin.pauses import Scope
from shared.store.resets import ClaimOverError, Finish
from tests.support.delivery_services import some_delivery_services
from worker.pauses import PauseKeeper
from worker.routing import PauseView

WHO = {"by": "eve", "reason": "a test"}
LATER_MS = 10_000


@pytest.fixture
def services(client):
    return some_delivery_services(client)


class Keeper:
    """The chores of a worker that serves both queues, at a time of the test's own."""

    def __init__(self, services, worker="w1"):
        self.services, self.stores, self.ahead_ms = services.services, services.stores, 0
        self.keeper = PauseKeeper(
            self.services.pauses,
            self.services.waiting,
            (Queue.URGENT, Queue.BULK),
            worker=worker,
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
def test_what_is_paused_is_not_handed_over(services, scope, name):
    services.services.pauses.pause(scope, name, **WHO)
    reset_id = services.record()

    assert services.deliver(reset_id) == "queued"

    assert services.look(reset_id).reason == f"paused_{scope}"
    assert services.providers[Channel.EMAIL][0].messages == []
    assert services.wait_seconds(reset_id) >= 590


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.QUEUE, "bulk"), (Scope.CHANNEL, "sms"), (Scope.ORGANISATION, "beta")],
)
def test_what_is_not_paused_goes_on(services, scope, name):
    services.services.pauses.pause(scope, name, **WHO)

    assert services.deliver(services.record()) == "accepted"


def test_what_is_due_is_parked_without_a_claim(services):
    ids = [services.record(user_id=f"u{n}") for n in range(30)]
    other = services.record(user_id="x", org_id="beta")
    services.services.pauses.pause(Scope.ORGANISATION, "acme", **WHO)

    assert Keeper(services).park() == 30

    assert min(services.wait_seconds(reset_id) for reset_id in ids) >= 590
    assert services.wait_seconds(other) <= 0
    assert {services.look(reset_id).reason for reset_id in ids} == {"paused_organisation"}


def test_parking_fences_off_a_claim_that_lapsed(services):
    reset_id = services.record()
    claim = services.services.resets.claim(reset_id)
    services.stores.make_due(reset_id)
    services.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    Keeper(services).park()

    assert not services.services.resets.finish(claim, _retry())


def test_a_claim_under_way_is_not_parked(services):
    reset_id = services.record()
    services.services.resets.claim(reset_id)
    services.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    assert Keeper(services).park() == 0


def test_the_deadline_ends_what_is_paused_and_says_so(services):
    reset_id = services.record()
    services.services.pauses.pause(Scope.CHANNEL, "email", **WHO)
    services.deliver(reset_id)
    services.stores.end_in(reset_id, -1, user_id="ada")
    services.stores.make_due(reset_id)

    assert Keeper(services).park() == 0
    services.deliver(reset_id)

    assert (services.look(reset_id).status, services.look(reset_id).reason) == (
        Status.EXPIRED,
        "paused_channel",
    )


def test_no_look_lies_between_the_last_start_and_the_deadline(services):
    reset_id = services.record(lifetime_seconds=900)
    services.services.pauses.pause(Scope.CHANNEL, "email", **WHO)

    Keeper(services).park()

    assert services.wait_seconds(reset_id) == pytest.approx(900, abs=10)


def test_what_is_resumed_is_due_at_once(services):
    ids = [services.record(user_id=f"u{n}") for n in range(20)]
    pauses = services.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(services)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", **WHO)

    assert keeper.let_go() == 20

    assert max(services.wait_seconds(reset_id) for reset_id in ids) <= 0
    assert pauses.releases() == []


def test_a_provider_that_is_resumed_gets_what_waited_for_it(services):
    reset_id = services.record()
    pauses = services.services.pauses
    pauses.pause(Scope.PROVIDER, "p1", **WHO)
    assert services.deliver(reset_id) == "queued"
    assert services.wait_seconds(reset_id) > 5
    pauses.resume(Scope.PROVIDER, "p1", **WHO)

    assert Keeper(services).let_go() == 1

    assert services.wait_seconds(reset_id) <= 0


def test_what_waits_for_another_reason_stays(services):
    paused, retried = services.record(), services.record(user_id="bob")
    services.stores.retry(retried)
    before = _set_due(services, retried, seconds=300)
    pauses = services.services.pauses
    pauses.pause(Scope.CHANNEL, "email", **WHO)
    keeper = Keeper(services)
    keeper.park()
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    pauses.resume(Scope.ORGANISATION, "acme", **WHO)

    assert keeper.let_go() == 0

    assert services.stores.due_at(retried) == before
    assert services.wait_seconds(paused) > 500


def test_a_claim_keeps_its_lease_through_a_release(services):
    reset_id = services.record()
    pauses = services.services.pauses
    pauses.pause(Scope.CHANNEL, "email", **WHO)
    keeper = Keeper(services)
    keeper.park()
    services.stores.make_due(reset_id)
    services.services.resets.claim(reset_id)
    pauses.resume(Scope.CHANNEL, "email", **WHO)

    assert keeper.let_go() == 0

    assert services.wait_seconds(reset_id) > 50


def test_a_paced_release_spreads_what_waits(services):
    ids = [services.record(user_id=f"u{n}") for n in range(20)]
    pauses = services.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(services)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", per_second=2, **WHO)

    keeper.let_go()

    turns = sorted(services.stores.due_at(reset_id) for reset_id in ids)
    assert turns[-1] - turns[0] == pytest.approx(9500, abs=3000)
    assert {b - a for a, b in pairwise(turns[8:])} == {500}
    assert {services.look(reset_id).reason for reset_id in ids} == {"paced"}


def test_what_cannot_have_its_turn_in_time_is_counted(services):
    for number in range(10):
        services.record(user_id=f"u{number}", lifetime_seconds=600, last_start_seconds=100)
    pauses = services.services.pauses
    pauses.pause(Scope.ORGANISATION, "acme", **WHO)
    keeper = Keeper(services)
    keeper.park()
    pauses.resume(Scope.ORGANISATION, "acme", per_second=0.011, **WHO)

    keeper.keeper.let_go()

    (release,) = pauses.releases()
    assert (release.moved, release.too_late) == (10, 4)


def test_a_second_release_changes_the_pace(services):
    ids = [services.record(user_id=f"u{n}") for n in range(5)]
    pauses = services.services.pauses
    pauses.pause(Scope.QUEUE, "urgent", **WHO)
    keeper = Keeper(services)
    keeper.park()
    pauses.resume(Scope.QUEUE, "urgent", per_second=0.01, **WHO)
    keeper.let_go()
    keeper.ahead_ms = 0

    pauses.resume(Scope.QUEUE, "urgent", **WHO)

    assert keeper.let_go() == 5
    assert max(services.wait_seconds(reset_id) for reset_id in ids) <= 0


def test_one_worker_lets_go_at_a_time(services):
    services.services.pauses.resume(Scope.QUEUE, "urgent", **WHO)

    assert services.services.waiting.may_let_go("w1")

    assert not services.services.waiting.may_let_go("w2")
    assert services.services.waiting.may_let_go("w1")


def test_a_pause_ends_the_release_under_way(services):
    pauses = services.services.pauses
    pauses.resume(Scope.QUEUE, "urgent", **WHO)

    pauses.pause(Scope.QUEUE, "urgent", **WHO)

    assert pauses.releases() == []


def test_the_view_of_a_worker_is_a_second_old_at_most(services):
    now = [0.0]
    view = PauseView(services.services.pauses, clock=lambda: now[0])
    assert view.all() == ()
    services.services.pauses.pause(Scope.QUEUE, "bulk", **WHO)

    now[0] = 0.9
    assert view.all() == ()
    now[0] = 1.1

    assert [pause.name for pause in view.all()] == ["bulk"]


def test_what_is_held_does_not_go_out_until_it_is_released(services):
    reset_id = services.record()
    waiting = services.services.waiting
    assert waiting.hold(reset_id, **WHO) == "held"

    assert services.deliver(reset_id) == "nothing due"
    assert waiting.release(reset_id, **WHO) == "released"
    assert services.deliver(reset_id) == "accepted"

    events = [(event.type, event.detail) for event in services.look(reset_id).events]
    assert events == [("held", "by eve: a test"), ("released", "by eve: a test")]


def test_a_hold_stops_a_claim_that_has_not_reached_the_socket(services):
    reset_id = services.record()
    claim = services.services.resets.claim(reset_id)
    services.services.waiting.hold(reset_id, **WHO)

    with pytest.raises(ClaimOverError):
        services.stores.mark_sending(claim)


def test_what_was_handed_over_cannot_be_held(services):
    reset_id = services.record()
    services.deliver(reset_id)

    assert services.services.waiting.hold(reset_id, **WHO) == "accepted"
    assert services.services.waiting.release(reset_id, **WHO) == "free"
    assert services.services.waiting.hold(keys.ID_SIGNS[0] + "x" * 26, **WHO) == "absent"


def test_what_is_held_until_its_code_ends_says_so(services):
    reset_id = services.record()
    services.services.waiting.hold(reset_id, **WHO)
    services.stores.end_in(reset_id, -1, user_id="ada")
    services.deliver(reset_id)

    assert (services.look(reset_id).status, services.look(reset_id).reason) == (
        Status.EXPIRED,
        "held",
    )


def _retry():
    return Finish(status=Status.RETRYING, delay_seconds=1)


def _set_due(services, reset_id, *, seconds):
    at = int(services.stores.now_ms() + seconds * 1000)
    key = keys.due(keys.tag_of(reset_id), Queue.URGENT)
    services.stores.client.zadd(key, {reset_id: at})
    return at
