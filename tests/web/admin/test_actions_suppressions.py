"""Suppressions by hand: who and why in the trail; lifted and sent again as one act."""

from __future__ import annotations

import pytest

from shared.errors import NotFoundError, UserInactiveError
from shared.models import Channel, Recipient
from tests.support.builders import a_user, an_organisation, some_services
from web.admin.actions import AuditReason, lift, lift_and_resend, suppress
from web.services import build_web_services

ADA = Recipient(Channel.EMAIL, "ada@example.com")
ADA_BY_PHONE = Recipient(Channel.SMS, "+41791234567")
WHY = AuditReason("eve", "the mailbox is back")


@pytest.fixture
def services(client):
    services = some_services(client, user_cooldown_seconds=60.0)
    an_organisation(services)
    a_user(services)
    return build_web_services(services)


def trail(services):
    return [(entry.act.by, entry.act.action) for entry in services.audit.newest()]


def test_adding_and_lifting_stand_in_the_trail(services):
    assert suppress(services, ADA, WHY)
    assert not suppress(services, ADA, WHY)

    lift(services, ADA, WHY)

    assert trail(services) == [
        ("eve", "suppression.lift"),
        ("eve", "suppression.add"),
        ("eve", "suppression.add"),
    ]
    assert "ada@" not in str([entry.act for entry in services.audit.newest()])


def test_what_is_not_suppressed_is_not_lifted(services):
    with pytest.raises(NotFoundError):
        lift(services, ADA, WHY)

    assert trail(services) == []


def test_everybody_who_has_the_address_gets_a_fresh_reset(services):
    a_user(services, "grace", email="Ada@Example.com")
    a_user(services, "joan", email="joan@example.com")
    suppress(services, ADA, WHY)

    resent = lift_and_resend(services, ADA, WHY)

    assert {each.user_id for each in resent} == {"ada", "grace"}
    for each in resent:
        reset = services.resets.find(each.reset_id)
        assert (reset.user_id, reset.channel) == (each.user_id, Channel.EMAIL)
    assert {hint.about for hint in services.hints.published} == {each.reset_id for each in resent}
    assert trail(services)[0] == ("eve", "suppression.lift_and_resend")


def test_it_goes_by_the_channel_of_the_address(services):
    suppress(services, ADA_BY_PHONE, WHY)

    (resent,) = lift_and_resend(services, ADA_BY_PHONE, WHY)

    assert services.resets.find(resent.reset_id).channel is Channel.SMS


def test_a_user_who_may_get_none_is_named_with_the_reason(services):
    a_user(services, state="locked")
    suppress(services, ADA, WHY)

    (resent,) = lift_and_resend(services, ADA, WHY)

    assert resent.reset_id is None
    assert resent.refusal == UserInactiveError().message
    assert services.suppressions.find(ADA) is None


def test_an_address_of_nobody_is_not_lifted(services):
    nobody = Recipient(Channel.EMAIL, "nobody@example.com")
    suppress(services, nobody, WHY)

    with pytest.raises(NotFoundError):
        lift_and_resend(services, nobody, WHY)

    assert services.suppressions.find(nobody)


def test_sending_again_without_a_suppression_does_nothing(services):
    with pytest.raises(NotFoundError):
        lift_and_resend(services, ADA, WHY)

    assert services.resets.find_of_user("ada") == []
    assert trail(services) == []
