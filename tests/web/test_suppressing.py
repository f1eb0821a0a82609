"""Suppressions by hand: who and why in the trail; lifted and sent again as one act."""

from __future__ import annotations

import pytest

from shared.errors import NotFoundError, UserInactiveError
from shared.models import Channel, Recipient
from tests.builders import a_user, an_organisation, some_services
from web.house import open_house
from web.levers import Why
from web.suppressing import lift, lift_and_resend, suppress

ADA = Recipient(Channel.EMAIL, "ada@example.com")
ADA_BY_PHONE = Recipient(Channel.SMS, "+41791234567")
WHY = Why("eve", "the mailbox is back")


@pytest.fixture
def house(client):
    services = some_services(client, user_cooldown_seconds=60.0)
    an_organisation(services)
    a_user(services)
    return open_house(services)


def trail(house):
    return [(entry.act.by, entry.act.action) for entry in house.audit.newest()]


def test_adding_and_lifting_stand_in_the_trail(house):
    assert suppress(house, ADA, WHY)
    assert not suppress(house, ADA, WHY)

    lift(house, ADA, WHY)

    assert trail(house) == [
        ("eve", "suppression.lift"),
        ("eve", "suppression.add"),
        ("eve", "suppression.add"),
    ]
    assert "ada@" not in str([entry.act for entry in house.audit.newest()])


def test_what_is_not_suppressed_is_not_lifted(house):
    with pytest.raises(NotFoundError):
        lift(house, ADA, WHY)

    assert trail(house) == []


def test_everybody_who_has_the_address_gets_a_fresh_reset(house):
    a_user(house, "grace", email="Ada@Example.com")
    a_user(house, "joan", email="joan@example.com")
    suppress(house, ADA, WHY)

    resent = lift_and_resend(house, ADA, WHY)

    assert {each.user_id for each in resent} == {"ada", "grace"}
    for each in resent:
        reset = house.resets.find(each.reset_id)
        assert (reset.user_id, reset.channel) == (each.user_id, Channel.EMAIL)
    assert {hint.about for hint in house.hints.published} == {each.reset_id for each in resent}
    assert trail(house)[0] == ("eve", "suppression.lift_and_resend")


def test_it_goes_by_the_channel_of_the_address(house):
    suppress(house, ADA_BY_PHONE, WHY)

    (resent,) = lift_and_resend(house, ADA_BY_PHONE, WHY)

    assert house.resets.find(resent.reset_id).channel is Channel.SMS


def test_a_user_who_may_get_none_is_named_with_the_reason(house):
    a_user(house, state="locked")
    suppress(house, ADA, WHY)

    (resent,) = lift_and_resend(house, ADA, WHY)

    assert resent.reset_id is None
    assert resent.refusal == UserInactiveError().message
    assert house.suppressions.find(ADA) is None


def test_an_address_of_nobody_is_not_lifted(house):
    nobody = Recipient(Channel.EMAIL, "nobody@example.com")
    suppress(house, nobody, WHY)

    with pytest.raises(NotFoundError):
        lift_and_resend(house, nobody, WHY)

    assert house.suppressions.find(nobody)


def test_sending_again_without_a_suppression_does_nothing(house):
    with pytest.raises(NotFoundError):
        lift_and_resend(house, ADA, WHY)

    assert house.resets.find_of_user("ada") == []
    assert trail(house) == []
