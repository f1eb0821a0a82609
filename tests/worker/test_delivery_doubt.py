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
from worker.receipts import ReceiptProcessor

CUT = DoubtfulProviderError("answer_timeout", "no answer came")
BUSY = TransientProviderError("http_503", "the provider is busy")

pytestmark = pytest.mark.usefixtures("logs")


def a_mail_house(client, *answers, **settings):
    return some_delivery_services(client, ScriptedProvider(*answers), **settings)


def an_sms_house(client, *answers, found=None, **settings):
    provider = AskableProvider(*answers, found=found, channel=Channel.SMS)
    return some_delivery_services(client, provider, **settings), provider


def in_doubt(services, channel=Channel.EMAIL):
    reset_id = services.record(channel=channel, lifetime_seconds=600, last_start_seconds=180)
    services.deliver(reset_id)
    assert services.look(reset_id).status is Status.UNKNOWN
    return reset_id


def tell(services, reset_id, kind):
    event = CallbackEvent(
        reset_id=reset_id, provider="p1", event_id=f"e-{kind}", type=kind, message_id="m1"
    )
    services.services.receipts.receive("p1", [event])
    ReceiptProcessor(services.services).apply(keys.ID_SIGNS.index(reset_id[0]))


def test_a_mail_in_doubt_is_sent_once_more(client):
    services = a_mail_house(client, CUT, TAKEN)
    reset_id = in_doubt(services)

    services.again(reset_id)

    assert services.outcomes(reset_id) == ["doubt", "accepted"]


def test_the_second_copy_is_the_first_one_again(client):
    services = a_mail_house(client, CUT, TAKEN)

    services.again(in_doubt(services))

    first, second = services.providers[Channel.EMAIL][0].messages
    assert (first.message_id, first.text, first.html) == (
        second.message_id,
        second.text,
        second.html,
    )


@pytest.mark.parametrize("channel", Channel)
def test_after_a_second_doubt_nothing_is_sent_and_a_callback_settles_it(client, channel):
    provider = AskableProvider(CUT, found=None, channel=channel)
    services = some_delivery_services(client, provider)
    reset_id = in_doubt(services, channel)
    services.again(reset_id)
    services.again(reset_id)
    assert services.look(reset_id).status is Status.UNKNOWN
    assert len(provider.messages) == 2

    tell(services, reset_id, EventType.DELIVERED)

    assert services.look(reset_id).status is Status.DELIVERED
    assert services.outcomes(reset_id) == ["doubt", "found"]
    assert len(provider.messages) == 2


def test_a_mail_that_is_held_waits_for_its_callback_until_the_deadline(client):
    services = a_mail_house(client, CUT, TAKEN, email_on_doubt="hold")
    reset_id = in_doubt(services)

    services.again(reset_id)

    reset = services.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "in_doubt_held")
    assert reset.next_look_at.timestamp() == pytest.approx(reset.deadline_at.timestamp(), abs=1)
    assert len(services.providers[Channel.EMAIL][0].messages) == 1


def test_a_mail_that_was_held_and_never_heard_of_expires_in_doubt(client):
    services = a_mail_house(client, CUT, TAKEN, email_on_doubt="hold")
    reset_id = in_doubt(services)
    services.again(reset_id)
    services.stores.end_in(reset_id, -0.001)

    services.again(reset_id)

    reset = services.look(reset_id)
    assert (reset.status, reset.reason) == (Status.EXPIRED, "in_doubt")


def test_a_callback_settles_what_is_held(client):
    services = a_mail_house(client, CUT, email_on_doubt="hold")
    reset_id = in_doubt(services)
    services.again(reset_id)

    tell(services, reset_id, EventType.ACCEPTED)

    assert services.look(reset_id).status is Status.ACCEPTED


def test_an_sms_that_is_held_is_looked_up_again_and_again(client):
    services, provider = an_sms_house(client, CUT, TAKEN, sms_on_doubt="hold", doubt_seconds=7.0)
    reset_id = in_doubt(services, Channel.SMS)

    for _ in range(8):
        services.again(reset_id)
        assert services.wait_seconds(reset_id) == pytest.approx(7, abs=2)
    provider.found = Receipt("SM1")
    services.again(reset_id)

    assert services.look(reset_id).status is Status.ACCEPTED
    assert (len(provider.messages), len(provider.asked)) == (1, 9)


def test_one_channel_may_hold_and_the_other_send_again(client):
    services = a_mail_house(client, CUT, TAKEN, sms_on_doubt="hold")

    reset_id = in_doubt(services)
    services.again(reset_id)

    assert services.outcomes(reset_id) == ["doubt", "accepted"]


def test_an_sms_that_twilio_does_not_list_yet_is_sent_again_no_sooner_than_its_list_lags(client):
    services, provider = an_sms_house(client, CUT, TAKEN)

    reset_id = in_doubt(services, Channel.SMS)

    assert services.wait_seconds(reset_id) == pytest.approx(20, abs=5)
    assert provider.asked == []


def test_an_attempt_whose_worker_died_is_looked_at_no_sooner_either(client):
    services, _ = an_sms_house(client, KeyboardInterrupt(), TAKEN, found=None)
    reset_id = services.record(channel=Channel.SMS, lifetime_seconds=600, last_start_seconds=180)
    with pytest.raises(KeyboardInterrupt):
        services.deliver(reset_id)
    services.stores.begin_earlier(reset_id, 12)
    services.stores.client.zadd(f"{keys.tag_of(reset_id)}:due:urgent", {reset_id: 0})

    assert services.deliver(reset_id) == "nothing due"

    assert services.look(reset_id).status is Status.UNKNOWN
    assert services.wait_seconds(reset_id) == pytest.approx(8, abs=2)
    services.again(reset_id)
    assert services.outcomes(reset_id) == ["doubt", "accepted"]


def test_what_is_in_doubt_goes_to_nobody_else(client):
    providers = [ScriptedProvider(CUT, name="p1"), ScriptedProvider(TAKEN, name="p2")]
    services = some_delivery_services(client, *providers)
    reset_id = in_doubt(services)

    services.again(reset_id)

    assert services.carriers(reset_id) == ["p1", "p1"]
    assert providers[1].messages == []


def test_a_deferred_mail_is_no_longer_in_doubt(client):
    services = a_mail_house(client, CUT)
    reset_id = in_doubt(services)

    tell(services, reset_id, EventType.DEFERRED)

    reset = services.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert [event.type for event in reset.events] == ["deferred"]


def test_the_state_of_a_reset_in_doubt_never_goes_back(client):
    services = a_mail_house(client, CUT, BUSY, CUT)
    reset_id = in_doubt(services)
    seen = [services.look(reset_id).status]

    for step in (EventType.ACCEPTED, EventType.DELIVERED, EventType.DEFERRED, EventType.FAILED):
        tell(services, reset_id, step)
        seen.append(services.look(reset_id).status)

    order = [Status.UNKNOWN, Status.ACCEPTED, Status.DELIVERED]
    assert all(order.index(a) <= order.index(b) for a, b in pairwise(seen))
    assert seen[-1] is Status.DELIVERED
