"""What `keyturn explain` says in a bad night: providers down, queues behind, copies in doubt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.errors import DoubtfulProviderError, TransientProviderError
from shared.models import Receipt
from shared.store.admin.circuits import CallTally
from tests.support.delivery_services import ScriptedProvider
from tests.web.explain.test_diagnosis import Story
from web.explain.model import DiagnosisKind
from web.explain.query import explain_user

CUT = DoubtfulProviderError("answer_cut", "no answer came back")
BUSY = TransientProviderError("http_503", "out of service")
OUTAGE = CallTally(bad=1, is_outage=True, reason="http_503")


@pytest.fixture
def story(client):
    return Story(client)


def timeline(story):
    return [(step.step, step.text) for step in explain_user(story._services(None), "ada").timeline]


def test_it_waits_while_the_circuit_is_open(story):
    story.services.circuits.record("sendgrid", OUTAGE)
    reset_id = story.ask()
    worker = story.worker.delivery
    worker.health.refresh()
    worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.WAITING
    assert "the circuit of every provider of its channel is open" in diagnosis.text
    assert "(sendgrid)" in diagnosis.text
    assert "goes out by itself once one works again, until" in diagnosis.next_step


def test_it_is_tried_again_no_later_than_a_code_is_of_use(client):
    story = Story(client, ScriptedProvider(BUSY))
    reset_id = story.send()

    reset = story.services.resets.find(reset_id)
    until = reset.deadline_at - timedelta(minutes=10)
    assert f"It is retried until {until:%Y-%m-%d %H:%M:%S} UTC." in story.explain().text


def test_it_waits_in_a_queue_that_is_behind(story):
    story.ask()

    diagnosis = story.explain(later=timedelta(seconds=40))

    assert diagnosis.kind is DiagnosisKind.WAITING
    assert "no worker has come to it yet" in diagnosis.text
    assert diagnosis.next_step.startswith("The queue is behind: `keyturn status`")


def test_another_provider_is_named_before_the_attempt_it_made(client):
    first, second = ScriptedProvider(BUSY, name="sendgrid"), ScriptedProvider(name="smtp")
    story = Story(client, first, second, email_providers=("sendgrid", "smtp"))
    reset_id = story.send()
    for _ in range(2):
        story.worker.stores.make_due(reset_id)
        story.worker.deliver(reset_id)

    assert [each for each in timeline(story) if each[0] in ("attempt", "provider")][-2:] == [
        ("provider", "smtp instead of sendgrid (not taken)"),
        ("attempt", "3. smtp: taken, message id m1"),
    ]


def test_a_second_copy_is_explained(client):
    story = Story(client, ScriptedProvider(CUT, Receipt("m1"), name="sendgrid"))
    reset_id = story.send()
    story.worker.stores.make_due(reset_id)
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.ACCEPTED
    assert "It may have come twice" in diagnosis.text
    assert "both copies carry the same code" in diagnosis.text


def test_a_doubt_that_is_held_is_not_said_to_be_sent_again(client):
    story = Story(client, ScriptedProvider(CUT, name="sendgrid"), email_on_doubt="hold")
    reset_id = story.send()
    story.worker.stores.make_due(reset_id)
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.RETRYING
    assert "No further copy goes out by itself" in diagnosis.next_step
    assert f"keyturn reset resend {reset_id}" in diagnosis.next_step
