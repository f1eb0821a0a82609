"""On a cluster a busy process counts calls at the gate in advance, never beyond a limit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import RecipientSuppressedError, TooManyRequestsError
from shared.models import Channel, Recipient
from shared.store import keys, limits
from shared.store.digests import Digests
from shared.store.limits import CallerChangedError, Limit, LimitStore
from shared.store.suppressions import SuppressionStore
from tests.support.store_builders import SECRET

pytestmark = pytest.mark.topology

LARGE = Limit("organisation", "acme", 3000, 60)
CALLER = Limit("caller", "t1", 6000, 60)
SMALL = Limit("caller", "t1", 150, 60)
HUNDREDTH = LARGE.most // 100


@pytest.fixture
def store(client):
    client.has_one_node = False
    return LimitStore(client)


@pytest.fixture
def clock(monkeypatch):
    """The time of leases, which moves only when told to."""
    told = [time.monotonic()]
    monkeypatch.setattr(limits, "monotonic", lambda: told[0])
    return lambda seconds: told.append(told.pop() + seconds)


def call(store, *wanted, version=0, number=0, digest="d1"):
    """One accept; True if the gate was not asked for it alone."""
    asked = store.gate(wanted, recipient_digest=digest, version=version, reset_id=f"0a{number}")
    if asked:
        limits.check_gate(store._scripts.run(*asked))
    return asked is None


def pass_all(store, number, *wanted):
    """How many of so many calls at once pass."""

    def passes(each):
        try:
            call(store, *wanted, number=each)
        except TooManyRequestsError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(passes, range(number)))


def test_a_busy_process_seldom_asks_the_gate(client, store, clock):
    asked = 0
    for number in range(600):
        clock(0.001)
        asked += not call(store, LARGE, CALLER, number=number)

    assert asked < 40
    for limit in (LARGE, CALLER):
        assert 600 <= int(client.get(limit.key)) <= 600 + HUNDREDTH


def test_a_process_with_few_calls_counts_each_by_itself(client, store, clock):
    for number in range(60):
        clock(0.3)
        assert not call(store, LARGE, number=number)

    assert client.get(LARGE.key) == "60"


def test_a_small_limit_is_exact(client, store):
    assert pass_all(store, 200, LARGE, SMALL) == SMALL.most
    assert client.get(SMALL.key) == client.get(LARGE.key) == str(SMALL.most)


def test_processes_together_never_pass_a_limit_and_come_near_it(client, store):
    both = (store, LimitStore(client))
    limit = Limit("organisation", "acme", 400, 60)

    passed = sum(pass_all(each, 200, limit) for each in (*both, *both))

    assert limit.most - 2 * limit.most // 100 <= passed <= limit.most
    with pytest.raises(TooManyRequestsError) as caught:
        call(store, limit)
    assert caught.value.limit == "organisation"
    assert 0 < caught.value.retry_after_seconds <= 60


def test_what_is_left_of_a_lease_ends(store, clock):
    while not call(store, LARGE):
        clock(0.001)
    clock(limits.LEASE_SECONDS + 0.1)
    store._client.incr(keys.VERSION)

    with pytest.raises(CallerChangedError):
        call(store, LARGE)


def test_a_caller_read_anew_gets_no_lease_of_the_former(client, store, clock):
    while not call(store, LARGE):
        clock(0.001)
    client.incr(keys.VERSION)

    assert not call(store, LARGE, version=1)


def test_without_limits_the_caller_is_still_looked_at(client, store, clock):
    while not call(store):
        clock(0.001)
    clock(limits.LEASE_SECONDS + 0.1)
    client.incr(keys.VERSION)

    with pytest.raises(CallerChangedError):
        call(store)


def test_a_lease_lets_no_suppressed_recipient_through(client, store, clock):
    suppressions = SuppressionStore(client, Digests(client, (SECRET,)))
    mira = Recipient(Channel.EMAIL, "mira@example.org")
    suppressions.add(mira, reason="bounce", source="sendgrid")
    while not call(store, LARGE):
        clock(0.001)

    with pytest.raises(RecipientSuppressedError):
        call(store, LARGE, digest=suppressions.digest(mira))


@pytest.mark.one_server
def test_on_one_server_nothing_is_leased(fake_client, clock):
    store = LimitStore(fake_client)

    for number in range(100):
        clock(0.0001)
        assert not call(store, LARGE, number=number)
