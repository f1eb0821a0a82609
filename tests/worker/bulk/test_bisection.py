"""Who spoils a request is found in few calls, and those beside them go out at once."""

from __future__ import annotations

import pytest

from shared.errors import (
    DoubtfulProviderError,
    PermanentProviderError,
    RefusedTogetherError,
    TransientProviderError,
)
from shared.models import Receipt
from tests.support.provider_builders import a_bulk_email, a_bulk_recipient
from worker.bulk.bisection import MAX_CALLS, MAX_IN_A_ROW, send_splitting

TAKEN = Receipt("m1")
BAD = PermanentProviderError("http_400", "malformed")
TOGETHER = RefusedTogetherError("http_400", "others")
NUMBER = 1000


class Picky:
    """Refuses a request with somebody bad in it; names so many of them, or nobody."""

    max_recipients = NUMBER

    def __init__(self, *bad, names=1000):
        self._bad, self._names = {f"7c0ffee{number}" for number in bad}, names
        self.calls, self.taken = [], []

    def send_bulk(self, bulk_email):
        ids = [copy.reset_id for copy in bulk_email.recipients]
        self.calls.append(ids)
        bad = [each for each in ids if each in self._bad]
        if not bad:
            self.taken += ids
            return [TAKEN] * len(ids)
        named = set(bad[: self._names]) if len(ids) > 1 else set(ids)
        return [BAD if each in named else TOGETHER for each in ids]


def many(number=NUMBER):
    return a_bulk_email(*(a_bulk_recipient(each) for each in range(number)))


def bad_places(outcomes):
    return [place for place, outcome in enumerate(outcomes) if outcome is BAD]


def send(provider, bulk_email=None, may_call=lambda: True):
    return send_splitting(provider, bulk_email or many(), may_call=may_call)


def test_good_ones_need_one_call():
    provider = Picky()

    assert send(provider) == [TAKEN] * NUMBER
    assert len(provider.calls) == 1


def test_one_that_is_named_needs_two():
    provider = Picky(617)

    outcomes = send(provider)

    assert bad_places(outcomes) == [617]
    assert outcomes.count(TAKEN) == NUMBER - 1
    assert len(provider.calls) == 2


@pytest.mark.parametrize("bad", [0, 1, 499, 500, 617, 998, 999])
def test_one_that_is_not_named_is_found_by_halves(bad):
    provider = Picky(bad, names=0)

    outcomes = send(provider)

    assert bad_places(outcomes) == [bad]
    assert outcomes.count(TAKEN) == NUMBER - 1
    assert len(provider.calls) <= 21  # twice the powers of two in a thousand


def test_many_that_are_named_one_by_one_are_found():
    bad = range(0, NUMBER, 100)
    provider = Picky(*bad, names=1)

    outcomes = send(provider)

    assert bad_places(outcomes) == list(bad)
    assert outcomes.count(TAKEN) == NUMBER - len(bad)
    assert len(provider.calls) > MAX_IN_A_ROW


@pytest.mark.parametrize("names", [0, 1])
def test_calls_are_counted_and_the_rest_is_left_for_single_mails(names):
    provider = Picky(*range(NUMBER), names=names)

    outcomes = send(provider)

    assert len(provider.calls) == MAX_CALLS
    assert all(each is BAD or isinstance(each, RefusedTogetherError) for each in outcomes)


def test_nobody_is_handed_over_twice():
    provider = Picky(3, 77, 500, names=0)

    outcomes = send(provider)

    assert len(provider.taken) == len(set(provider.taken)) == outcomes.count(TAKEN)


def test_no_call_is_repeated_when_time_is_up():
    provider = Picky(3)

    outcomes = send(provider, may_call=lambda: False)

    assert len(provider.calls) == 1
    assert bad_places(outcomes) == [3]
    assert sum(isinstance(each, RefusedTogetherError) for each in outcomes) == NUMBER - 1


def test_who_is_refused_with_nobody_beside_them_is_not_tried_again():
    class Narrow(Picky):
        def send_bulk(self, bulk_email):
            super().send_bulk(bulk_email)
            return [TOGETHER] * len(bulk_email.recipients)

    provider = Narrow()

    assert send(provider, many(1)) == [TOGETHER]
    assert len(provider.calls) == 1


@pytest.mark.parametrize("error", [TransientProviderError, DoubtfulProviderError])
def test_trouble_in_a_later_call_concerns_those_in_it_alone(error):
    class Failing(Picky):
        def send_bulk(self, bulk_email):
            told = super().send_bulk(bulk_email)
            return told if len(self.calls) == 1 else [error("r", "d")] * len(told)

    outcomes = send(Failing(3), many(5))

    assert [type(each) for each in outcomes] == [error] * 3 + [PermanentProviderError, error]
