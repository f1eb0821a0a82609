"""What follows an attempt: when, through whom, and what doubt allows."""

from __future__ import annotations

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    TransientProviderError,
)
from shared.models import Channel, Outcome, Receipt, Status
from tests.support.delivery_services import (
    TAKEN,
    AskableProvider,
    ScriptedProvider,
    some_delivery_services,
)
from tests.support.store_builders import MARGIN_SECONDS
from tests.support.waiting import a_wait

BUSY = TransientProviderError("http_503", "the provider is busy")
LOCKED_OUT = AccountProviderError("http_401", "the key is refused")
CUT = DoubtfulProviderError("answer_timeout", "no answer came")
REFUSED = PermanentProviderError("http_400", "malformed")

pytestmark = pytest.mark.usefixtures("logs")


def two_providers(first, second):
    return ScriptedProvider(*first, name="p1"), ScriptedProvider(*second, name="p2")


def through(worker, reset_id, attempts):
    """Who carried so many attempts."""
    worker.deliver(reset_id)
    for _ in range(attempts - 1):
        worker.again(reset_id)
    return worker.carriers(reset_id)


def test_a_transient_failure_is_followed_by_another_attempt(fake_client):
    worker = some_delivery_services(fake_client, ScriptedProvider(BUSY, BUSY, TAKEN))
    reset_id = worker.record()

    through(worker, reset_id, 3)

    assert worker.outcomes(reset_id) == ["transient", "transient", "accepted"]
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_the_operators_own_pauses_are_kept_exactly(fake_client):
    worker = some_delivery_services(
        fake_client, ScriptedProvider(BUSY), retry_delays_seconds=(2.0, 7.0, 11.0)
    )
    reset_id = worker.record()
    worker.deliver(reset_id)
    waits = [worker.wait_seconds(reset_id)]
    for _ in range(3):
        worker.again(reset_id)
        waits.append(worker.wait_seconds(reset_id))

    assert waits == [a_wait(2), a_wait(7), a_wait(11), a_wait(11)]


def test_a_retry_that_would_come_too_late_waits_for_the_deadline(fake_client):
    worker = some_delivery_services(
        fake_client, ScriptedProvider(BUSY), retry_delays_seconds=(30.0,)
    )
    reset_id = worker.record()
    worker.stores.end_in(reset_id, MARGIN_SECONDS + 20)

    worker.deliver(reset_id)

    assert worker.wait_seconds(reset_id) == a_wait(MARGIN_SECONDS + 20, 4)


def test_every_attempt_carries_the_same_code_and_message_id(fake_client):
    provider = ScriptedProvider(BUSY, CUT, TAKEN)
    worker = some_delivery_services(fake_client, provider)

    through(worker, worker.record(), 3)

    assert len({mail.message_id for mail in provider.messages}) == 1
    assert len({mail.text for mail in provider.messages}) == 1


def test_mail_stays_one_attempt_longer_with_its_first_provider(fake_client, logs):
    worker = some_delivery_services(fake_client, *two_providers([BUSY], [BUSY]))

    carriers = through(worker, worker.record(), 6)

    assert carriers == ["p1", "p1", "p2", "p1", "p2", "p1"]
    failed_over = [line for line in logs if line["event"] == "provider.failed_over"]
    assert [(line["last"], line["provider"]) for line in failed_over][:1] == [("p1", "p2")]


def test_sms_alternates_between_its_providers(fake_client):
    providers = [ScriptedProvider(BUSY, name=n, channel=Channel.SMS) for n in ("p1", "p2")]
    worker = some_delivery_services(fake_client, *providers)

    carriers = through(worker, worker.record(channel=Channel.SMS), 4)

    assert carriers == ["p1", "p2", "p1", "p2"]


def test_account_trouble_moves_on_to_the_next_provider_at_once(fake_client):
    worker = some_delivery_services(fake_client, *two_providers([LOCKED_OUT], [TAKEN]))
    reset_id = worker.record()

    worker.deliver(reset_id)
    assert worker.wait_seconds(reset_id) <= 0
    worker.deliver(reset_id)

    assert worker.carriers(reset_id) == ["p1", "p2"]
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_account_trouble_everywhere_waits_before_the_next_round(fake_client):
    worker = some_delivery_services(
        fake_client, *two_providers([LOCKED_OUT], [LOCKED_OUT]), retry_delays_seconds=(8.0,)
    )
    reset_id = worker.record()
    worker.deliver(reset_id)

    worker.deliver(reset_id)

    assert worker.carriers(reset_id) == ["p1", "p2"]
    assert worker.wait_seconds(reset_id) == a_wait(8, 2)


def test_account_trouble_of_the_only_provider_waits(fake_client):
    worker = some_delivery_services(
        fake_client, ScriptedProvider(LOCKED_OUT), retry_delays_seconds=(8.0,)
    )
    reset_id = worker.record()

    worker.deliver(reset_id)

    assert worker.wait_seconds(reset_id) == a_wait(8, 2)


@pytest.mark.parametrize(
    ("channel", "configured", "seconds"),
    [(Channel.EMAIL, 0.0, 30), (Channel.SMS, 0.0, 20), (Channel.EMAIL, 5.0, 5)],
    ids=["email", "sms", "configured"],
)
def test_doubt_is_looked_at_after_its_pause(fake_client, channel, configured, seconds):
    worker = some_delivery_services(
        fake_client, ScriptedProvider(CUT, channel=channel), doubt_seconds=configured
    )
    reset_id = worker.record(channel=channel)

    worker.deliver(reset_id)

    assert worker.look(reset_id).status is Status.UNKNOWN
    assert worker.wait_seconds(reset_id) == a_wait(seconds, 2)
    assert worker.deliver(reset_id) == "nothing due"


def test_doubt_where_nobody_can_be_asked_is_sent_once_more_and_never_again(fake_client):
    provider = ScriptedProvider(CUT)
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()

    through(worker, reset_id, 5)

    assert worker.outcomes(reset_id) == ["doubt", "doubt"]
    assert len(provider.messages) == 2
    assert worker.look(reset_id).status is Status.UNKNOWN


def test_doubt_then_a_refusal_ends_the_reset(fake_client):
    worker = some_delivery_services(fake_client, ScriptedProvider(CUT, REFUSED))
    reset_id = worker.record()

    through(worker, reset_id, 2)

    assert worker.look(reset_id).status is Status.FAILED
    assert worker.stores.live() == {reset_id}


def test_doubt_is_never_failed_over(fake_client):
    first, second = two_providers([CUT], [TAKEN])
    worker = some_delivery_services(fake_client, first, second)
    reset_id = worker.record()

    through(worker, reset_id, 2)

    assert worker.carriers(reset_id) == ["p1", "p1"]
    assert second.messages == []


def test_a_provider_that_has_the_message_settles_the_doubt(fake_client, logs):
    provider = AskableProvider(CUT, found=Receipt("m9"))
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()

    through(worker, reset_id, 2)

    reset = worker.look(reset_id)
    assert reset.status is Status.ACCEPTED
    assert [(a.outcome, a.provider_message_id) for a in reset.attempts] == [(Outcome.FOUND, "m9")]
    assert len(provider.messages) == 1
    assert provider.asked == provider.messages
    assert "attempt.found" in [line["event"] for line in logs]


def test_a_provider_that_does_not_have_the_message_gets_it_again(fake_client):
    provider = AskableProvider(CUT, TAKEN, found=None)
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()

    through(worker, reset_id, 2)

    assert worker.outcomes(reset_id) == ["doubt", "accepted"]
    assert provider.messages[0] == provider.messages[1]


def test_a_provider_that_cannot_be_asked_leaves_the_doubt(fake_client, logs):
    provider = AskableProvider(CUT, found=BUSY)
    worker = some_delivery_services(fake_client, provider, doubt_seconds=5.0)
    reset_id = worker.record()

    through(worker, reset_id, 4)

    assert worker.look(reset_id).status is Status.UNKNOWN
    assert worker.wait_seconds(reset_id) == a_wait(5, 2)
    assert len(provider.messages) == 1
    assert len(provider.asked) == 3
    assert "provider.unasked" in [line["event"] for line in logs]


def test_nobody_is_asked_about_an_attempt_that_surely_failed(fake_client):
    provider = AskableProvider(BUSY, TAKEN, found=Receipt("m9"))
    worker = some_delivery_services(fake_client, provider)

    through(worker, worker.record(), 2)

    assert provider.asked == []


def test_a_doubt_too_late_to_send_again_waits_for_the_deadline(fake_client):
    provider = ScriptedProvider(CUT)
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()
    worker.deliver(reset_id)
    worker.stores.end_in(reset_id, MARGIN_SECONDS - 5)

    worker.again(reset_id)

    assert len(provider.messages) == 1
    assert worker.look(reset_id).status is Status.UNKNOWN
    assert worker.wait_seconds(reset_id) == a_wait(MARGIN_SECONDS - 5, 4)


def test_a_late_doubt_is_still_asked_about(fake_client):
    provider = AskableProvider(CUT, found=Receipt("m9"))
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()
    worker.deliver(reset_id)
    worker.stores.end_in(reset_id, MARGIN_SECONDS - 5)

    worker.again(reset_id)

    assert worker.look(reset_id).status is Status.ACCEPTED


def test_a_worker_that_died_in_the_call_left_a_doubt(fake_client):
    provider = ScriptedProvider(KeyboardInterrupt(), TAKEN)
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record()
    with pytest.raises(KeyboardInterrupt):
        worker.deliver(reset_id)

    assert worker.deliver(reset_id) == "nothing due"
    worker.again(reset_id)

    assert worker.outcomes(reset_id) == ["doubt", "accepted"]


def test_a_reset_overtaken_during_its_call_is_not_tried_again(fake_client):
    worker = some_delivery_services(fake_client)
    provider = ScriptedProvider(lambda: worker.record() and BUSY)
    worker.providers[Channel.EMAIL][:] = [provider]
    reset_id = worker.record()

    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.CANCELLED,
        "superseded",
    )
    assert worker.outcomes(reset_id) == ["transient"]
