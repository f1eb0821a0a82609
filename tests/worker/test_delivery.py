"""One delivery: what each outcome leaves on the record, and what an operator reads there."""

from __future__ import annotations

import time

import pytest

from shared.errors import (
    AccountProviderError,
    DirectoryUnavailableError,
    DoubtfulProviderError,
    PermanentProviderError,
    TransientProviderError,
)
from shared.models import Channel, Kind, Outcome, Recipient, Status
from tests.support.delivery_services import (
    AskableProvider,
    ScriptedProvider,
    some_delivery_services,
)
from tests.support.store_builders import MARGIN_SECONDS
from tests.support.waiting import a_wait

DETAIL = "what an operator reads"
NEXT_TRY = a_wait(1, 0.9)
ADA = Recipient(Channel.EMAIL, "ada@example.com")

pytestmark = pytest.mark.usefixtures("logs")


class SilentDirectory:
    """A directory that is away."""

    def find_user(self, user_id):
        raise DirectoryUnavailableError


def events(logs):
    return [line["event"] for line in logs]


def test_a_reset_that_is_taken_is_accepted(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()

    assert worker.deliver(reset_id) == "accepted"

    reset = worker.look(reset_id)
    (attempt,) = reset.attempts
    (mail,) = worker.providers[Channel.EMAIL][0].messages
    assert (reset.status, reset.reason) == (Status.ACCEPTED, None)
    assert (attempt.provider, attempt.outcome) == ("p1", Outcome.ACCEPTED)
    assert attempt.provider_message_id == "m1"
    assert worker.stores.due_at(reset_id) is None
    assert mail.recipient.address == "ada@example.com"
    assert worker.services.codes.code(reset_id, reset.key_id).formatted in mail.text


def test_a_second_hint_does_nothing(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()

    answers = [worker.deliver(reset_id) for _ in range(3)]

    assert answers == ["accepted", "nothing due", "nothing due"]
    assert len(worker.providers[Channel.EMAIL][0].messages) == 1


@pytest.mark.parametrize(
    ("error", "status", "outcome", "wait_seconds"),
    [
        (TransientProviderError("http_503", DETAIL), Status.RETRYING, Outcome.TRANSIENT, NEXT_TRY),
        (
            TransientProviderError("http_429", DETAIL, retry_after_seconds=40.0),
            Status.RETRYING,
            Outcome.TRANSIENT,
            a_wait(40, 3),
        ),
        (AccountProviderError("http_401", DETAIL), Status.RETRYING, Outcome.ACCOUNT, NEXT_TRY),
        (
            DoubtfulProviderError("answer_timeout", DETAIL),
            Status.UNKNOWN,
            Outcome.DOUBT,
            a_wait(30, 3),
        ),
        (PermanentProviderError("http_400", DETAIL), Status.FAILED, Outcome.PERMANENT, None),
        (
            PermanentProviderError("smtp_550", DETAIL, suppression="bounce"),
            Status.FAILED,
            Outcome.PERMANENT,
            None,
        ),
        (
            PermanentProviderError("twilio_21610", DETAIL, suppression="opt_out"),
            Status.SUPPRESSED,
            Outcome.PERMANENT,
            None,
        ),
    ],
    ids=["transient", "retry-after", "account", "doubt", "permanent", "bounce", "opt-out"],
)
def test_each_error_leaves_its_status_and_its_attempt(
    fake_client, error, status, outcome, wait_seconds
):
    worker = some_delivery_services(fake_client, ScriptedProvider(error))
    reset_id = worker.record()

    assert worker.deliver(reset_id) == status.value

    reset = worker.look(reset_id)
    (attempt,) = reset.attempts
    assert (reset.status, reset.reason) == (status, error.reason)
    assert (attempt.outcome, attempt.detail) == (outcome, DETAIL)
    assert attempt.finished_at is not None
    if wait_seconds is None:
        assert worker.stores.due_at(reset_id) is None
    else:
        assert worker.wait_seconds(reset_id) == wait_seconds


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (TransientProviderError("http_503", DETAIL), "attempt.deferred"),
        (DoubtfulProviderError("answer_timeout", DETAIL), "attempt.doubtful"),
        (PermanentProviderError("http_400", DETAIL), "attempt.refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_failure_says_in_the_log_what_it_was(fake_client, logs, error, event):
    worker = some_delivery_services(fake_client, ScriptedProvider(error))

    worker.deliver(worker.record(extra={"rq": "request-7"}))

    (line,) = [line for line in logs if line["event"] == event]
    assert (line["reason"], line["provider"], line["attempt"]) == (error.reason, "p1", 1)
    assert line["request_id"] == "request-7"


def test_every_line_of_a_delivery_names_its_reset_and_its_request(fake_client, logs):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record(extra={"rq": "request-7"})

    worker.deliver(reset_id)

    assert events(logs) == ["attempt.accepted"]
    assert {(line["reset_id"], line["request_id"]) for line in logs} == {(reset_id, "request-7")}


def test_the_context_of_a_delivery_ends_with_it(fake_client, logs):
    worker = some_delivery_services(fake_client)
    worker.deliver(worker.record(extra={"rq": "request-7"}))
    worker.change_user(state="locked")

    worker.deliver(worker.record())

    assert logs[-1]["request_id"] is None


@pytest.mark.parametrize("suppression", ["bounce", "opt_out", "bad_number"])
def test_a_refusal_that_forbids_writing_again_is_kept_as_suppression(fake_client, suppression):
    refusal = PermanentProviderError("r", DETAIL, suppression=suppression)
    worker = some_delivery_services(fake_client, ScriptedProvider(refusal))

    worker.deliver(worker.record())

    found = worker.services.suppressions.find(ADA)
    assert (found.reason, found.source) == (suppression, "p1")


def test_another_refusal_suppresses_nobody(fake_client):
    worker = some_delivery_services(
        fake_client, ScriptedProvider(PermanentProviderError("r", DETAIL))
    )

    worker.deliver(worker.record())

    assert worker.services.suppressions.find(ADA) is None


@pytest.mark.parametrize("kind", ["reset", "notice"])
def test_whoever_was_suppressed_meanwhile_is_not_written_to(fake_client, kind):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record(kind=Kind(kind))
    worker.services.suppressions.add(ADA, reason="complaint", source="sendgrid")

    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason, reset.attempts) == (Status.SUPPRESSED, "complaint", ())


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"state": "inactive"}, Status.CANCELLED, "user_inactive"),
        ({"state": "locked"}, Status.CANCELLED, "user_locked"),
        ({"state": "initial"}, Status.CANCELLED, "user_initial"),
        ({"email": None}, Status.FAILED, "no_recipient"),
        ({"emailVerified": False}, Status.FAILED, "no_recipient"),
    ],
    ids=str,
)
def test_a_user_who_changed_meanwhile_gets_nothing(fake_client, change, status, reason):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    worker.change_user(**change)

    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason, reset.attempts) == (status, reason, ())
    assert worker.providers[Channel.EMAIL][0].messages == []


def test_a_user_who_is_gone_gets_nothing(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record("nobody")

    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.CANCELLED,
        "user_gone",
    )


def test_the_address_is_that_of_the_moment_of_sending(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    worker.change_user(email="ada@new.example.com")

    worker.deliver(reset_id)

    (mail,) = worker.providers[Channel.EMAIL][0].messages
    assert mail.recipient.address == "ada@new.example.com"


def test_a_locked_user_is_still_told_of_a_changed_password(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record(kind=Kind.NOTICE)
    worker.change_user(state="locked")

    assert worker.deliver(reset_id) == "accepted"


def test_the_language_is_the_one_stored_on_the_reset(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record(language="de")
    worker.change_user(language="fr")

    worker.deliver(reset_id)

    (mail,) = worker.providers[Channel.EMAIL][0].messages
    assert mail.language == "de"


def test_an_sms_goes_to_the_phone(fake_client):
    worker = some_delivery_services(fake_client)

    worker.deliver(worker.record(channel=Channel.SMS))

    (sms,) = worker.providers[Channel.SMS][0].messages
    assert sms.recipient.address == "+41791234567"


def test_a_channel_without_providers_fails(fake_client):
    worker = some_delivery_services(fake_client, ScriptedProvider(channel=Channel.SMS))
    reset_id = worker.record()

    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.FAILED,
        "no_provider",
    )


def test_a_key_that_was_taken_out_of_the_settings_fails_the_reset(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.stores.record(key_id="00000000")

    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.FAILED,
        "key_unknown",
    )


@pytest.mark.parametrize("attempts_before", [0, 1])
def test_a_directory_that_is_away_costs_no_attempt(fake_client, logs, attempts_before):
    flaky = ScriptedProvider(TransientProviderError("http_503", DETAIL))
    worker = some_delivery_services(fake_client, flaky)
    reset_id = worker.record()
    for _ in range(attempts_before):
        worker.deliver(reset_id)
        worker.stores.make_due(reset_id)
    silent = worker.with_services(directory=SilentDirectory())

    silent.deliver(reset_id)

    expected = Status.RETRYING if attempts_before else Status.QUEUED
    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        expected,
        "directory_unavailable",
    )
    assert len(worker.look(reset_id).attempts) == attempts_before
    assert worker.wait_seconds(reset_id) == a_wait(5, 2)
    assert "reset.settled" not in events(logs)


def test_nothing_is_sent_when_the_code_is_about_to_expire(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    worker.stores.end_in(reset_id, MARGIN_SECONDS - 1)

    worker.deliver(reset_id)

    assert worker.providers[Channel.EMAIL][0].messages == []
    assert worker.wait_seconds(reset_id) == a_wait(MARGIN_SECONDS - 1, 5)


def test_a_lease_too_short_for_a_call_is_given_back(fake_client):
    worker = some_delivery_services(fake_client, lease_seconds=60.0, provider_timeout_seconds=56.0)
    reset_id = worker.record()

    worker.deliver(reset_id)

    assert worker.providers[Channel.EMAIL][0].messages == []
    assert worker.look(reset_id).reason == "lease_too_short"


def test_a_worker_that_stood_still_after_its_mark_does_not_call(fake_client):
    """Its lease ends meanwhile: another worker asks the provider, then sends."""
    provider = AskableProvider(found=None, channel=Channel.SMS)
    worker = some_delivery_services(fake_client, provider)
    reset_id = worker.record(channel=Channel.SMS)
    resets = worker.services.resets

    class StandsStill:
        def __getattr__(self, name):
            return getattr(resets, name)

        def mark_sending(self, claim, **fields):
            number = resets.mark_sending(claim, **fields)
            object.__setattr__(claim, "lease_ends", time.monotonic() - 1)
            return number

    worker.with_services(resets=StandsStill()).deliver(reset_id)

    assert provider.messages == []
    assert worker.look(reset_id).reason == "lease_over"
    assert worker.outcomes(reset_id) == [Outcome.TRANSIENT]
    assert worker.again(reset_id) == "accepted"
    assert len(provider.messages) == 1


def test_a_reset_overtaken_while_it_was_prepared_is_not_sent(fake_client):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    directory = worker.services.directory

    class SlowDirectory:
        def find_user(self, user_id):
            worker.record()
            return directory.find_user(user_id)

    worker.with_services(directory=SlowDirectory()).deliver(reset_id)

    assert worker.look(reset_id).status is Status.CANCELLED
    assert worker.providers[Channel.EMAIL][0].messages == []
