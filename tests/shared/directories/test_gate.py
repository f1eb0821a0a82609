from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.directories.gate import FAILURES_IN_A_ROW, SHUT_SECONDS, Gate
from shared.errors import DirectoryUnavailableError, UserChangedError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(wait_seconds=0.01, clock=clock)


def fail(gate, times=FAILURES_IN_A_ROW):
    for _ in range(times):
        with pytest.raises(DirectoryUnavailableError), gate.call():
            raise DirectoryUnavailableError


def passes(gate) -> bool:
    try:
        with gate.call():
            return True
    except DirectoryUnavailableError:
        return False


def test_failures_in_a_row_shut_it_for_a_while(gate, clock):
    fail(gate)

    assert not passes(gate)
    clock.now = SHUT_SECONDS - 0.1
    assert not passes(gate)
    clock.now = SHUT_SECONDS
    assert passes(gate)
    assert passes(gate)


def test_one_call_alone_tries_again(gate, clock):
    fail(gate)
    clock.now = SHUT_SECONDS

    with gate.call():
        assert not passes(gate)

    assert passes(gate)


def test_a_try_that_fails_shuts_it_again(gate, clock):
    fail(gate)
    clock.now = SHUT_SECONDS

    fail(gate, times=1)

    assert not passes(gate)
    clock.now += SHUT_SECONDS
    assert passes(gate)


def test_a_success_begins_the_count_anew(gate):
    fail(gate, FAILURES_IN_A_ROW - 1)
    assert passes(gate)
    fail(gate, FAILURES_IN_A_ROW - 1)

    assert passes(gate)


def test_an_answer_is_no_failure_whatever_it_says(gate):
    for _ in range(FAILURES_IN_A_ROW + 1):
        with pytest.raises(UserChangedError), gate.call():
            raise UserChangedError

    assert passes(gate)


def test_threads_beyond_the_bound_are_refused_soon_and_count_as_no_failure(gate):
    gate.bound_threads(2)
    inside, leave = threading.Barrier(3), threading.Event()

    def stay():
        with gate.call():
            inside.wait(5)
            leave.wait(5)

    threads = [threading.Thread(target=stay) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(5)

    assert not any(passes(gate) for _ in range(FAILURES_IN_A_ROW + 1))
    leave.set()
    for thread in threads:
        thread.join()
    assert passes(gate)


def test_an_answer_after_failures_opens_it_whatever_it_says(gate, clock):
    fail(gate)
    clock.now = SHUT_SECONDS

    with pytest.raises(UserChangedError), gate.call():
        raise UserChangedError

    assert passes(gate)
    assert passes(gate)


def test_a_burst_over_a_directory_that_is_not_slow_is_answered(clock, monkeypatch):
    monkeypatch.setattr("shared.directories.gate.MOMENT_SECONDS", 5.0)  # on a busy machine too
    gate = Gate(wait_seconds=5.0, clock=clock)
    gate.bound_threads(2)

    def call(_):
        with gate.call():
            return threading.Event().wait(0.001)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(call, range(32))) == [False] * 32
