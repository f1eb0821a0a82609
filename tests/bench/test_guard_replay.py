"""The promise of the SMS guard on a smaller day: what is stopped, how few people are refused."""

from __future__ import annotations

import pytest

from guard_replay.curve import draw
from guard_replay.replay import replay
from guard_replay.traffic import HOUR_SECONDS, Attack

ATTACK = Attack(begins=10 * HOUR_SECONDS, lasts=200, numbers=240)


@pytest.fixture(scope="module")
def outcome():
    return replay(ATTACK, resets=1200, hours=(10, 11))


def test_an_attack_in_three_countries_is_stopped_and_people_are_not(outcome):
    assert outcome.attack_sent + outcome.attack_refused == 240
    assert outcome.attack_sent <= 50
    assert outcome.hour_sent > 60
    assert outcome.hour_share <= 0.02


def test_without_a_rule_all_of_it_would_go_out():
    off = [("velocity", "off"), ("source", "off"), ("conversion", "off")]

    assert replay(ATTACK, resets=100, hours=(10, 11), levels=off).attack_sent == 240


def test_a_morning_without_an_attack_and_without_a_past_refuses_nobody():
    quiet = replay(None, resets=1500, hours=(7, 8), has_past=False)

    assert quiet.people_sent > 50
    assert quiet.people_refused == 0


def test_the_curve_is_drawn(outcome):
    picture = draw({12: outcome}, recommended=12)

    assert picture.startswith("<svg ")
    assert ">12</text>" in picture
