"""A claim whose answer was lost costs a sweep, not a lease."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailableError
from shared.store.claims import ClaimOverError
from tests.delivery_house import TAKEN, ScriptedProvider, a_delivery_house
from worker.lost_claims import LostClaims


class AnswersLost:
    """A store that claims and does not tell, the first time."""

    def __init__(self, resets):
        self._resets, self._is_first = resets, True

    def __getattr__(self, name):
        return getattr(self._resets, name)

    def claim(self, reset_id):
        claim = self._resets.claim(reset_id)
        if self._is_first:
            self._is_first = False
            raise StoreUnavailableError
        return claim


@pytest.fixture
def house(client):
    return a_delivery_house(client, ScriptedProvider(TAKEN))


def test_a_claim_whose_answer_was_lost_is_given_back_and_sent_at_once(house):
    delivery = house.with_services(resets=AnswersLost(house.services.resets)).delivery
    reset_id = house.record()
    with pytest.raises(StoreUnavailableError):
        delivery.deliver(reset_id)
    assert house.wait_seconds(reset_id) > 50

    recalled = delivery.lost_claims.recall()

    assert recalled == 1
    assert delivery.deliver(reset_id) == "accepted"


def test_a_worker_at_the_providers_socket_is_left_alone(house):
    reset_id = house.record()
    house.stores.claim_sending(reset_id)

    assert not house.services.waiting.recall(reset_id)

    assert house.wait_seconds(reset_id) > 50


def test_whoever_holds_a_recalled_claim_sends_nothing(house):
    reset_id = house.record()
    older = house.services.resets.claim(reset_id)
    house.services.waiting.recall(reset_id)
    house.deliver(reset_id)

    assert not house.stores.resets.find(reset_id).attempts[1:]
    with pytest.raises(ClaimOverError):
        house.stores.mark_sending(older)


def test_what_is_not_claimed_keeps_its_time(house):
    reset_id = house.record()
    before = house.stores.due_at(reset_id)

    assert not house.services.waiting.recall(reset_id)

    assert house.stores.due_at(reset_id) == before


def test_what_could_not_be_given_back_is_tried_again():
    def recall(reset_id):
        raise StoreUnavailableError

    lost = LostClaims(recall)
    lost.note(["0a", "0b"])
    with pytest.raises(StoreUnavailableError):
        lost.recall()

    recalled = []
    lost._recall = lambda reset_id: recalled.append(reset_id) or True

    assert lost.recall() == 2
    assert sorted(recalled) == ["0a", "0b"]
