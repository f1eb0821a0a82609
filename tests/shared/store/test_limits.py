"""The gate (limits of organisation, caller, installation), suppressions, idempotency keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import (
    IdempotencyMismatchError,
    RecipientSuppressedError,
    TooManyRequestsError,
)
from shared.models import Channel, Recipient
from shared.store import keys
from shared.store.digests import Digests
from shared.store.idempotency import IdempotencyStore, KeyedRequest
from shared.store.limits import CallerChangedError, Limit, LimitStore
from shared.store.suppressions import SuppressionStore
from tests.support.store_builders import SECRET

pytestmark = pytest.mark.topology

ORGANISATION = Limit("organisation", "acme", 3, 60)
BUDGET = Limit("sms_budget", "all", 1, 86400)
MIRA = Recipient(Channel.EMAIL, "Mira@example.org")
REQUEST = KeyedRequest("caller", "key-1", "reset ada email")


@pytest.fixture
def limits(client):
    return LimitStore(client)


@pytest.fixture
def suppressions(client):
    return SuppressionStore(client, Digests(client, (SECRET,)))


@pytest.fixture
def idempotency(client):
    return IdempotencyStore(client, Digests(client, (SECRET,)))


def pass_gate(limits, *wanted, reset_id="r1", **fields):
    values = {"recipient_digest": "d1", "version": -1, "reset_id": reset_id}
    limits.pass_gate(wanted or (ORGANISATION,), **values | fields)


def test_the_gate_lets_through_as_many_as_its_limit(limits):
    for _ in range(3):
        pass_gate(limits)

    with pytest.raises(TooManyRequestsError) as caught:
        pass_gate(limits)

    assert (caught.value.limit, caught.value.retry_after_seconds) == ("organisation", 60)


def test_of_many_at_once_no_more_than_the_limit_pass(limits):
    def passes(number):
        try:
            pass_gate(limits, reset_id=f"r{number}")
        except TooManyRequestsError:
            return 0
        return 1

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(passes, range(50))) == 3


def test_a_call_that_one_limit_refuses_counts_toward_none(client, limits):
    pass_gate(limits, BUDGET)

    with pytest.raises(TooManyRequestsError) as caught:
        pass_gate(limits, ORGANISATION, BUDGET)

    assert caught.value.limit == "sms_budget"
    assert client.get(ORGANISATION.key) is None


def test_a_window_begins_with_its_first_call(client, limits):
    pass_gate(limits)
    client.pexpire(ORGANISATION.key, 40_000)
    pass_gate(limits)

    assert client.pttl(ORGANISATION.key) <= 40_000


def test_what_was_counted_can_be_given_back(client, limits):
    for _ in range(3):
        pass_gate(limits)

    limits.give_back([ORGANISATION], reset_id="r1")

    pass_gate(limits)
    assert client.get(ORGANISATION.key) == "3"


def test_giving_back_never_goes_below_nothing(client, limits):
    limits.give_back([ORGANISATION], reset_id="r1")

    assert client.get(ORGANISATION.key) is None


def test_repeats_of_one_request_count_once(client, limits):
    for _ in range(9):
        pass_gate(limits, is_repeatable=True)

    assert client.get(ORGANISATION.key) == "1"


def test_repeats_of_one_request_give_back_once(client, limits):
    pass_gate(limits, reset_id="other")
    pass_gate(limits, is_repeatable=True)

    for _ in range(2):
        limits.give_back([ORGANISATION], reset_id="r1", is_repeatable=True)

    assert client.get(ORGANISATION.key) == "1"


def test_a_caller_that_changed_since_it_was_read_is_read_again(client, limits):
    client.set(keys.VERSION, 7)

    pass_gate(limits, version=7)
    with pytest.raises(CallerChangedError):
        pass_gate(limits, version=6)


def test_looking_at_the_suppression_alone_counts_nothing(client, limits):
    pass_gate(limits, may_count=False)

    assert client.get(ORGANISATION.key) is None


def test_a_suppressed_recipient_does_not_pass_the_gate(limits, suppressions):
    suppressions.add(MIRA, reason="bounce", source="sendgrid")

    with pytest.raises(RecipientSuppressedError):
        pass_gate(limits, recipient_digest=suppressions.digest(MIRA))


def test_nothing_keeps_a_counted_key_for_ever(client, limits):
    pass_gate(limits, ORGANISATION, BUDGET, is_repeatable=True)

    assert all(client.pttl(key) > 0 for key in client.scan_iter())


def test_a_suppression_tells_why_since_when_and_by_whom(suppressions):
    suppressions.add(MIRA, reason="bounce", source="sendgrid")

    found = suppressions.find(MIRA)

    assert (found.reason, found.source) == ("bounce", "sendgrid")
    assert found.since.tzinfo is not None


def test_the_first_reason_stays(suppressions):
    suppressions.add(MIRA, reason="complaint", source="sendgrid")
    suppressions.add(MIRA, reason="bounce", source="smtp")

    assert suppressions.find(MIRA).reason == "complaint"


def test_case_does_not_matter_to_a_suppression(suppressions):
    suppressions.add(MIRA, reason="bounce", source="sendgrid")

    assert suppressions.find(Recipient(Channel.EMAIL, "mira@EXAMPLE.org"))


def test_a_lifted_suppression_is_gone(suppressions):
    suppressions.add(MIRA, reason="by hand", source="operator")

    assert suppressions.lift(MIRA)
    assert suppressions.find(MIRA) is None
    assert not suppressions.lift(MIRA)


def test_adding_by_hand_keeps_the_first_reason(suppressions):
    assert suppressions.add_by_hand(MIRA, by="eve", reason="asked us to")
    assert not suppressions.add_by_hand(MIRA, by="eve", reason="again")

    found = suppressions.find(MIRA)
    assert (found.reason, found.source) == ("asked us to", "operator eve")


def test_a_report_from_before_the_lifting_suppresses_nobody(suppressions):
    digest = suppressions.digest(MIRA)
    suppressions.add(MIRA, reason="bounce", source="sendgrid")
    since_ms = int(suppressions.find(MIRA).since.timestamp() * 1000)
    suppressions.lift(MIRA)

    fields = {"reason": "bounce", "source": "sendgrid"}
    assert not suppressions.add_digest(digest, at_ms=since_ms - 3600_000, **fields)
    assert suppressions.find(MIRA) is None
    assert suppressions.add_digest(digest, at_ms=since_ms + 3600_000, **fields)
    assert suppressions.find(MIRA)


def test_a_suppression_is_as_old_as_its_report(suppressions):
    digest = suppressions.digest(MIRA)

    suppressions.add_digest(digest, reason="bounce", source="sendgrid", at_ms=1_700_000_000_000)

    assert suppressions.find(MIRA).since.timestamp() == 1_700_000_000


def test_no_address_stands_in_a_suppression(client, suppressions):
    suppressions.add(MIRA, reason="bounce", source="sendgrid")

    hashes = [(key, client.hgetall(key)) for key in client.scan_iter(_type="hash")]
    sets = [(key, client.zrange(key, 0, -1)) for key in client.scan_iter(_type="zset")]
    dumped = str([pair for pair in hashes + sets if "seal" not in pair[0]])
    assert "mira" not in dumped.lower()


def test_a_key_stands_for_its_request(idempotency):
    assert idempotency.find(REQUEST) is None

    since = idempotency.begin(REQUEST)

    assert idempotency.find(REQUEST) == since == idempotency.begin(REQUEST)


@pytest.mark.parametrize("ask", ["find", "begin"])
def test_a_key_used_for_another_request_is_refused(idempotency, ask):
    idempotency.begin(REQUEST)
    other = KeyedRequest("caller", "key-1", "reset grace email")

    with pytest.raises(IdempotencyMismatchError):
        getattr(idempotency, ask)(other)


def test_each_caller_has_keys_of_its_own(idempotency):
    idempotency.begin(REQUEST)

    assert idempotency.begin(KeyedRequest("somebody else", "key-1", "reset grace email"))


def test_a_key_is_free_again_when_nothing_was_recorded(idempotency):
    since = idempotency.begin(REQUEST)

    idempotency.give_up(REQUEST, since)

    assert idempotency.find(REQUEST) is None


def test_a_key_stays_while_another_still_tries(idempotency):
    since = idempotency.begin(REQUEST)
    idempotency.begin(REQUEST)

    idempotency.give_up(REQUEST, since)

    assert idempotency.find(REQUEST) == since


def test_giving_up_an_older_use_of_a_key_frees_nothing(client, idempotency):
    idempotency.begin(REQUEST)

    idempotency.give_up(REQUEST, "1")

    assert idempotency.find(REQUEST)


def test_a_key_lives_a_day_and_is_nowhere_in_clear(client, idempotency):
    idempotency.begin(REQUEST)

    (place,) = client.scan_iter("kt:idem:*")
    assert client.pttl(place) == pytest.approx(86_400_000, abs=10_000)
    assert "key-1" not in place
