"""Doubt from end to end: looked up, waited for, sent once more or held, and never a third time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shared.errors import DoubtfulProviderError, TransientProviderError
from shared.models import CallbackEvent, Channel, EventType, Receipt, Status
from shared.store import keys
from tests.support.delivery_services import (
    TAKEN,
    AskableProvider,
    ScriptedProvider,
    some_delivery_services,
)
from tests.support.waiting import a_wait
from worker.receipts import ReceiptProcessor

CUT = DoubtfulProviderError("answer_timeout", "no answer came")
BUSY = TransientProviderError("http_503", "the provider is busy")

pytestmark = pytest.mark.usefixtures("logs")


def a_mail_worker(client, *answers, **settings):
    return some_delivery_services(client, ScriptedProvider(*answers), **settings)


def an_sms_worker(client, *answers, found=None, **settings):
    provider = AskableProvider(*answers, found=found, channel=Channel.SMS)
    return some_delivery_services(client, provider, **settings), provider


def in_doubt(worker, channel=Channel.EMAIL):
    reset_id = worker.record(channel=channel, lifetime_seconds=600, last_start_seconds=180)
    worker.deliver(reset_id)
    assert worker.look(reset_id).status is Status.UNKNOWN
    return reset_id


def tell(worker, reset_id, kind):
    event = CallbackEvent(
        reset_id=reset_id, provider="p1", event_id=f"e-{kind}", type=kind, message_id="m1"
    )
    worker.services.receipts.receive("p1", [event])
    ReceiptProcessor(worker.services).apply(keys.find_shard(reset_id))


def test_a_mail_in_doubt_is_sent_once_more(client):
    worker = a_mail_worker(client, CUT, TAKEN)
    reset_id = in_doubt(worker)

    worker.again(reset_id)

    assert worker.outcomes(reset_id) == ["doubt", "accepted"]


def test_the_second_copy_is_the_first_one_again(client):
    worker = a_mail_worker(client, CUT, TAKEN)

    worker.again(in_doubt(worker))

    first, second = worker.providers[Channel.EMAIL][0].messages
    assert (first.message_id, first.text, first.html) == (
        second.message_id,
        second.text,
        second.html,
    )


@pytest.mark.parametrize("channel", Channel)
def test_after_a_second_doubt_nothing_is_sent_and_a_callback_settles_it(client, channel):
    provider = AskableProvider(CUT, found=None, channel=channel)
    worker = some_delivery_services(client, provider)
    reset_id = in_doubt(worker, channel)
    worker.again(reset_id)
    worker.again(reset_id)
    assert worker.look(reset_id).status is Status.UNKNOWN
    assert len(provider.messages) == 2

    tell(worker, reset_id, EventType.DELIVERED)

    assert worker.look(reset_id).status is Status.DELIVERED
    assert worker.outcomes(reset_id) == ["doubt", "found"]
    assert len(provider.messages) == 2


def test_a_mail_that_is_held_waits_for_its_callback_until_the_deadline(client):
    worker = a_mail_worker(client, CUT, TAKEN, email_on_doubt="hold")
    reset_id = in_doubt(worker)

    worker.again(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "in_doubt_held")
    assert reset.next_look_at.timestamp() == pytest.approx(reset.deadline_at.timestamp(), abs=1)
    assert len(worker.providers[Channel.EMAIL][0].messages) == 1


def test_a_mail_that_was_held_and_never_heard_of_expires_in_doubt(client):
    worker = a_mail_worker(client, CUT, TAKEN, email_on_doubt="hold")
    reset_id = in_doubt(worker)
    worker.again(reset_id)
    worker.stores.end_in(reset_id, -0.001)

    worker.again(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason) == (Status.EXPIRED, "in_doubt")


def test_a_callback_settles_what_is_held(client):
    worker = a_mail_worker(client, CUT, email_on_doubt="hold")
    reset_id = in_doubt(worker)
    worker.again(reset_id)

    tell(worker, reset_id, EventType.ACCEPTED)

    assert worker.look(reset_id).status is Status.ACCEPTED


def test_an_sms_that_is_held_is_looked_up_again_and_again(client):
    worker, provider = an_sms_worker(client, CUT, TAKEN, sms_on_doubt="hold", doubt_seconds=7.0)
    reset_id = in_doubt(worker, Channel.SMS)

    for _ in range(8):
        worker.again(reset_id)
        assert worker.wait_seconds(reset_id) == a_wait(7, 2)
    provider.found = Receipt("SM1")
    worker.again(reset_id)

    assert worker.look(reset_id).status is Status.ACCEPTED
    assert (len(provider.messages), len(provider.asked)) == (1, 9)


def test_one_channel_may_hold_and_the_other_send_again(client):
    worker = a_mail_worker(client, CUT, TAKEN, sms_on_doubt="hold")

    reset_id = in_doubt(worker)
    worker.again(reset_id)

    assert worker.outcomes(reset_id) == ["doubt", "accepted"]


def test_an_sms_that_twilio_does_not_list_yet_is_sent_again_no_sooner_than_its_list_lags(client):
    worker, provider = an_sms_worker(client, CUT, TAKEN)

    reset_id = in_doubt(worker, Channel.SMS)

    assert worker.wait_seconds(reset_id) == a_wait(20, 5)
    assert provider.asked == []


def test_an_attempt_whose_worker_died_is_looked_at_no_sooner_either(client):
    worker, _ = an_sms_worker(client, KeyboardInterrupt(), TAKEN, found=None)
    reset_id = worker.record(channel=Channel.SMS, lifetime_seconds=600, last_start_seconds=180)
    with pytest.raises(KeyboardInterrupt):
        worker.deliver(reset_id)
    worker.stores.begin_earlier(reset_id, 12)
    worker.stores.client.zadd(f"{keys.tag_of(reset_id)}:due:urgent", {reset_id: 0})

    assert worker.deliver(reset_id) == "nothing due"

    assert worker.look(reset_id).status is Status.UNKNOWN
    assert worker.wait_seconds(reset_id) == a_wait(8, 2)
    worker.again(reset_id)
    assert worker.outcomes(reset_id) == ["doubt", "accepted"]


def test_what_is_in_doubt_goes_to_nobody_else(client):
    providers = [ScriptedProvider(CUT, name="p1"), ScriptedProvider(TAKEN, name="p2")]
    worker = some_delivery_services(client, *providers)
    reset_id = in_doubt(worker)

    worker.again(reset_id)

    assert worker.carriers(reset_id) == ["p1", "p1"]
    assert providers[1].messages == []


def test_a_deferred_mail_is_no_longer_in_doubt(client):
    worker = a_mail_worker(client, CUT)
    reset_id = in_doubt(worker)

    tell(worker, reset_id, EventType.DEFERRED)

    reset = worker.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert [event.type for event in reset.events] == ["deferred"]


def test_the_state_of_a_reset_in_doubt_never_goes_back(client):
    worker = a_mail_worker(client, CUT, BUSY, CUT)
    reset_id = in_doubt(worker)
    seen = [worker.look(reset_id).status]

    for step in (EventType.ACCEPTED, EventType.DELIVERED, EventType.DEFERRED, EventType.FAILED):
        tell(worker, reset_id, step)
        seen.append(worker.look(reset_id).status)

    order = [Status.UNKNOWN, Status.ACCEPTED, Status.DELIVERED, Status.FAILED]
    assert all(order.index(a) <= order.index(b) for a, b in pairwise(seen))
    assert seen[2:] == [Status.DELIVERED, Status.DELIVERED, Status.FAILED]  # it came back
