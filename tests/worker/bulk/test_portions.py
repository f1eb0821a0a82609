"""How many resets a bulk task claims at once: few enough to be marked within their lease."""

from __future__ import annotations

from tests.support.provider_builders import some_settings
from worker.bulk.portions import FIRST, LEAST, MOST, Portions


def portions(lease_seconds=10.0):
    return Portions(some_settings(lease_seconds=lease_seconds, provider_timeout_seconds=3.0))


def test_the_first_portion_is_small():
    assert portions().size() == FIRST


def test_a_portion_is_marked_before_its_lease_is_too_short_for_a_call():
    """Of a lease of 10 s a call may take 3, and 5 are for its record: 2 are left."""
    short = portions()
    for _ in range(30):
        short.note(100, 0.25)  # 2.5 ms each

    assert short.size() == 640
    assert short.size() * 0.0025 < 2


def test_a_slower_server_makes_smaller_portions_and_a_faster_one_larger_ones():
    some = portions()
    sizes = []
    for seconds_each in (0.002, 0.02, 0.2, 5.0, 0.0001):
        for _ in range(30):
            some.note(50, 50 * seconds_each)
        sizes.append(some.size())

    assert sizes == [800, 80, LEAST, LEAST, MOST]


def test_a_long_lease_takes_as_many_as_go_into_a_request():
    some = portions(lease_seconds=120.0)
    some.note(100, 1.0)

    assert some.size() == MOST
