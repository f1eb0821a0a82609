"""Past resets by time: the index that the record script writes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.models import Channel, Kind, Outcome, Status
from shared.store import history, keys
from shared.store.history import HistoryFilter, HistoryStore
from tests.support.store_builders import KEEP_SECONDS, fresh_user, stores_of

pytestmark = pytest.mark.real_server  # fakeredis takes seconds for the lists of 64 shards


@pytest.fixture
def stores(real_client):
    return stores_of(real_client)


@pytest.fixture
def past(real_client):
    return HistoryStore(real_client, keep_seconds=KEEP_SECONDS)


def fail(stores, reset_id):
    stores.attempt(reset_id, Outcome.PERMANENT, Status.FAILED, reason="refused")


def ids(past, **wanted):
    return {line.reset_id for line in past.walk(HistoryFilter(**wanted))}


def test_every_recorded_reset_is_found(stores, past):
    recorded = {stores.record(fresh_user()) for _ in range(30)}

    assert ids(past) == recorded


def test_a_reset_recorded_twice_is_found_once(stores, past):
    new = stores.new()
    stores.resets.record(new)
    stores.resets.record(new)

    assert [line.reset_id for line in past.walk(HistoryFilter())] == [new.reset_id]


def test_a_line_tells_the_reset_as_it_stands_now(stores, past):
    reset_id = stores.record("ada")
    fail(stores, reset_id)

    (line,) = past.walk(HistoryFilter())

    assert (line.user_id, line.org_id, line.channel) == ("ada", "acme", Channel.EMAIL)
    assert line.status is Status.FAILED
    assert line.created_at == stores.resets.find(reset_id).created_at


def test_a_filter_takes_what_matches_in_everything(stores, past):
    failed = stores.record(fresh_user())
    fail(stores, failed)
    other_org = stores.record(fresh_user(), org_id="beta")
    by_sms = stores.record(fresh_user(), channel=Channel.SMS)

    assert ids(past, statuses=frozenset({Status.FAILED})) == {failed}
    assert ids(past, org_id="beta") == {other_org}
    assert ids(past, channel=Channel.SMS) == {by_sms}
    assert ids(past, provider="p1") == {failed}
    assert ids(past, provider="p2") == set()


def test_a_window_ends_where_it_says(stores, past):
    reset_id = stores.record()
    made_at = stores.resets.find(reset_id).created_at
    hour = timedelta(hours=1)

    assert ids(past, since=made_at, until=made_at) == {reset_id}
    assert ids(past, since=made_at - hour, until=made_at - hour / 60) == set()
    assert ids(past, since=made_at + timedelta(seconds=1)) == set()


def test_the_newest_come_first_when_asked_for(stores, past, monkeypatch):
    monkeypatch.setattr(history, "LINES_AT_ONCE", 2)
    recorded = [stores.record("ada") for _ in range(5)]

    lines = list(past.walk(HistoryFilter(), newest_first=True))

    assert [line.reset_id for line in lines] == recorded[::-1]


def test_what_is_no_longer_kept_is_passed_over(stores, past):
    reset_id, gone = stores.record(), stores.record(fresh_user())
    stores.client.delete(keys.reset(gone))

    assert ids(past) == {reset_id}


def test_codes_given_back_to_callers_are_not_messages(stores, past):
    stores.record(kind=Kind.RETURNED)

    assert ids(past) == set()


def test_the_index_lasts_longer_than_its_records(stores):
    reset_id = stores.record()

    (key,) = stores.client.keys("{kt:*}:made:*")

    assert key.startswith(keys.tag_of(reset_id))
    assert stores.client.pttl(key) / 1000 > KEEP_SECONDS + 86_400
