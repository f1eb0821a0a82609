"""The schedule of attempts as a table: pauses, jitter, last start, and whose turn it is."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate

import pytest

from shared.models import Attempt, Channel, Outcome
from shared.policies import (
    DELAYS_SECONDS,
    Jitter,
    choose_provider,
    doubt_delay_seconds,
    last_start_seconds,
    retry_delay_seconds,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class NoJitter(Jitter):
    def vary(self, seconds, attempt_number):
        return seconds


def attempts(*fields):
    """Attempts of (provider, outcome)."""
    return [Attempt(n, p, NOW, NOW, outcome) for n, (p, outcome) in enumerate(fields, 1)]


@pytest.mark.parametrize(
    ("channel", "tries_at_seconds"),
    [
        (Channel.EMAIL, [0, 1, 4, 10, 25, 60, 120, 300, 600, 1200, 1800, 2400]),
        (Channel.SMS, [0, 1, 4, 10, 20, 40, 80, 160, 300]),
    ],
)
def test_the_tries_stand_where_the_schedule_says(channel, tries_at_seconds):
    pauses = [
        retry_delay_seconds(channel, number, jitter=NoJitter())
        for number in range(1, len(tries_at_seconds))
    ]

    assert list(accumulate(pauses, initial=0)) == tries_at_seconds


@pytest.mark.parametrize("channel", Channel)
def test_the_last_pause_repeats(channel):
    last = DELAYS_SECONDS[channel][-1]

    assert retry_delay_seconds(channel, 99, jitter=NoJitter()) == last


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_first_pauses_vary_by_a_fifth(number):
    pause = DELAYS_SECONDS[Channel.EMAIL][number - 1]

    drawn = [retry_delay_seconds(Channel.EMAIL, number) for _ in range(500)]

    assert min(drawn) >= pause * 0.8
    assert max(drawn) <= pause * 1.2
    assert max(drawn) - min(drawn) > pause * 0.2


@pytest.mark.parametrize("number", [4, 5, 11])
def test_later_pauses_are_drawn_as_a_whole(number):
    pause = DELAYS_SECONDS[Channel.EMAIL][number - 1]

    drawn = [retry_delay_seconds(Channel.EMAIL, number) for _ in range(500)]

    assert min(drawn) >= pause * 0.2
    assert max(drawn) <= pause
    assert max(drawn) - min(drawn) > pause * 0.5


@pytest.mark.parametrize(("number", "seconds"), [(1, 0.5), (2, 2.25), (3, 9), (4, 9), (50, 9)])
def test_the_operators_own_pauses_have_no_jitter(number, seconds):
    assert retry_delay_seconds(Channel.SMS, number, delays=(0.5, 2.25, 9)) == seconds


@pytest.mark.parametrize(
    ("asked_for", "seconds"), [(None, 3), (0.0, 3), (2.0, 3), (45.0, 45)], ids=str
)
def test_what_the_provider_asks_for_counts_when_it_is_longer(asked_for, seconds):
    pause = retry_delay_seconds(Channel.EMAIL, 2, retry_after_seconds=asked_for, jitter=NoJitter())

    assert pause == seconds


def test_what_the_provider_asks_for_counts_beside_the_operators_pauses():
    pause = retry_delay_seconds(Channel.EMAIL, 1, delays=(1.0,), retry_after_seconds=20.0)

    assert pause == 20


@pytest.mark.parametrize(
    ("channel", "lifetime_seconds", "margin_seconds"),
    [
        (Channel.EMAIL, 3600, 600),
        (Channel.EMAIL, 86400, 600),
        (Channel.EMAIL, 60, 10),
        (Channel.SMS, 600, 180),
        (Channel.SMS, 60, 20),
    ],
)
def test_the_last_start_leaves_time_to_use_the_code(channel, lifetime_seconds, margin_seconds):
    assert last_start_seconds(channel, lifetime_seconds) == margin_seconds


@pytest.mark.parametrize(
    ("channel", "configured", "seconds"),
    [(Channel.EMAIL, 0, 30), (Channel.SMS, 0, 20), (Channel.SMS, 5, 5)],
)
def test_doubt_waits_as_long_as_its_channel_or_the_setting_says(channel, configured, seconds):
    assert doubt_delay_seconds(channel, configured) == seconds


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], "a"),
        ([("a", Outcome.TRANSIENT)], "a"),
        ([("a", Outcome.TRANSIENT), ("a", Outcome.TRANSIENT)], "b"),
        ([("a", Outcome.DOUBT)], "a"),
        ([("a", Outcome.TRANSIENT), ("a", Outcome.TRANSIENT), ("b", Outcome.DOUBT)], "b"),
        ([("a", Outcome.ACCOUNT)], "b"),
        ([("a", Outcome.ACCOUNT), ("b", Outcome.ACCOUNT)], "a"),
        ([("gone", Outcome.DOUBT)], "a"),
        ([("gone", Outcome.ACCOUNT)], "a"),
    ],
    ids=str,
)
def test_the_next_provider_follows_from_what_happened(history, expected):
    assert choose_provider(("a", "b"), Channel.EMAIL, attempts(*history)) == expected


def test_a_single_provider_always_has_its_turn():
    history = attempts(*[("a", outcome) for outcome in Outcome])

    assert choose_provider(("a",), Channel.SMS, history) == "a"


@pytest.mark.parametrize(
    ("history", "expected"),
    [([], "a"), ([("b", Outcome.TRANSIENT)], "b"), ([("b", Outcome.TRANSIENT)] * 2, "a")],
    ids=str,
)
def test_the_order_begins_with_who_had_the_first_attempt(history, expected):
    assert choose_provider(("a", "b"), Channel.EMAIL, attempts(*history)) == expected


def test_a_provider_that_asks_for_patience_is_passed_by_where_the_caller_wants_it():
    history = attempts(("a", Outcome.TRANSIENT))

    assert choose_provider(("a", "b"), Channel.EMAIL, history, moves_on=True) == "b"
