"""A claim whose answer was lost costs a sweep, not a lease."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailableError
from shared.store.resets import ClaimOverError
from tests.support.delivery_services import (
    TAKEN,
    ScriptedProvider,
    a_bulk_renderer,
    some_delivery_services,
)
from worker.bulk.delivery import BulkDelivery
from worker.delivery import LostClaims


class AnswersLost:
    """A store that claims and does not tell, the first time."""

    def __init__(self, resets):
        self._resets, self._is_first = resets, True

    def __getattr__(self, name):
        return getattr(self._resets, name)

    def claim_many(self, reset_ids):
        self._resets.claim_many(reset_ids)
        raise StoreUnavailableError

    def claim(self, reset_id):
        claim = self._resets.claim(reset_id)
        if self._is_first:
            self._is_first = False
            raise StoreUnavailableError
        return claim


@pytest.fixture
def worker(client):
    return some_delivery_services(client, ScriptedProvider(TAKEN))


def test_a_claim_whose_answer_was_lost_is_given_back_and_sent_at_once(worker):
    delivery = worker.with_services(resets=AnswersLost(worker.services.resets)).delivery
    reset_id = worker.record()
    with pytest.raises(StoreUnavailableError):
        delivery.deliver(reset_id)
    assert worker.wait_seconds(reset_id) > 50

    recalled = delivery.lost_claims.recall()

    assert recalled == 1
    assert delivery.deliver(reset_id) == "accepted"


def test_claims_of_many_whose_answer_was_lost_are_given_back(worker):
    losing = worker.with_services(resets=AnswersLost(worker.services.resets))
    delivery, ids = losing.delivery, [worker.record(f"u{number}") for number in range(3)]

    BulkDelivery(losing.services, delivery, a_bulk_renderer(losing.services.settings)).deliver(ids)

    assert delivery.lost_claims.recall() == 3
    assert max(worker.wait_seconds(reset_id) for reset_id in ids) < 1


def test_a_worker_at_the_providers_socket_is_left_alone(worker):
    reset_id = worker.record()
    worker.stores.claim_sending(reset_id)

    assert not worker.services.waiting.recall(reset_id)

    assert worker.wait_seconds(reset_id) > 50


def test_whoever_holds_a_recalled_claim_sends_nothing(worker):
    reset_id = worker.record()
    older = worker.services.resets.claim(reset_id)
    worker.services.waiting.recall(reset_id)
    worker.deliver(reset_id)

    assert not worker.stores.resets.find(reset_id).attempts[1:]
    with pytest.raises(ClaimOverError):
        worker.stores.mark_sending(older)


def test_what_is_not_claimed_keeps_its_time(worker):
    reset_id = worker.record()
    before = worker.stores.due_at(reset_id)

    assert not worker.services.waiting.recall(reset_id)

    assert worker.stores.due_at(reset_id) == before


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
