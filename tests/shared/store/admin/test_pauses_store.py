"""The audit trail and the pauses."""

from __future__ import annotations

import pytest

from shared.store.admin.audit import MAX_KEPT, Act, AuditStore
from shared.store.admin.pauses import Pause, PauseStore, Scope
from tests.support.message_builders import NOW, a_reset

ACT = Act(by="eve", action="limit.clear", target="ada", reason="she is on the phone")


@pytest.fixture
def audit(client):
    return AuditStore(client)


@pytest.fixture
def pauses(client):
    return PauseStore(client)


def test_the_newest_act_comes_first(audit):
    audit.record(ACT)
    audit.record(Act(by="bob", action="a", target="t", reason="r"))

    assert [entry.act.by for entry in audit.newest()] == ["bob", "eve"]


def test_an_act_is_told_as_it_was(audit):
    audit.record(ACT)

    assert audit.newest()[0].act == ACT


def test_no_more_acts_are_told_than_asked_for(audit):
    for _ in range(3):
        audit.record(ACT)

    assert len(audit.newest(most=2)) == 2
    assert MAX_KEPT >= 100_000


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


def test_pausing_leaves_a_trail(pauses, audit):
    pauses.pause(Scope.CHANNEL, "sms", by="eve", reason="pumping")
    pauses.resume(Scope.CHANNEL, "sms", by="bob", reason="over")

    assert [(e.act.by, e.act.action, e.act.target, e.act.reason) for e in audit.newest()] == [
        ("bob", "channel.resume", "sms", "over"),
        ("eve", "channel.pause", "sms", "pumping"),
    ]
