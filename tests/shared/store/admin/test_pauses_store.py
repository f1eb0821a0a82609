"""The pauses."""

from __future__ import annotations

import pytest

from shared.store.admin.pauses import Pause, PauseStore, Scope
from tests.support.message_builders import NOW, a_reset


@pytest.fixture
def pauses(client):
    return PauseStore(client)


def test_what_is_paused_says_by_whom_and_why(pauses):
    pauses.pause(Scope.ORGANISATION, "acme:eu", by="eve", reason="they asked")

    (pause,) = pauses.all()
    assert (pause.scope, pause.name, pause.by, pause.reason) == (
        *(Scope.ORGANISATION, "acme:eu"),
        *("eve", "they asked"),
    )


@pytest.mark.parametrize(
    ("scope", "name", "providers", "is_covered"),
    [
        (Scope.QUEUE, "urgent", (), True),
        (Scope.QUEUE, "bulk", (), False),
        (Scope.CHANNEL, "email", (), True),
        (Scope.CHANNEL, "sms", (), False),
        (Scope.ORGANISATION, "o1", (), True),
        (Scope.ORGANISATION, "urgent", (), False),
        (Scope.PROVIDER, "sendgrid", (), False),
        (Scope.PROVIDER, "sendgrid", ("smtp", "sendgrid"), True),
        (Scope.PROVIDER, "sendgrid", ("smtp",), False),
    ],
)
def test_a_pause_covers_what_is_of_its_scope_and_name(scope, name, providers, is_covered):
    pause = Pause(scope, name, "eve", "they asked", NOW)

    assert pause.covers(a_reset(), providers) is is_covered


def test_a_second_pause_leaves_the_first_reason(pauses):
    assert pauses.pause(Scope.QUEUE, "bulk", by="eve", reason="first")

    assert not pauses.pause(Scope.QUEUE, "bulk", by="bob", reason="second")

    assert [pause.reason for pause in pauses.all()] == ["first"]


def test_what_is_resumed_is_paused_no_more(pauses):
    pauses.pause(Scope.PROVIDER, "twilio", by="eve", reason="outage")

    assert pauses.resume(Scope.PROVIDER, "twilio", by="bob", reason="over")

    assert pauses.all() == []
    assert not pauses.resume(Scope.PROVIDER, "twilio", by="bob", reason="over")
