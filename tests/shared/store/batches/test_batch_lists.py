"""The lists of a batch: compact, in pieces, and gone when nobody needs them."""

from __future__ import annotations

import pytest

from shared.store.batches.lists import ListEntry
from tests.support.builders import some_services


@pytest.fixture
def services(client):
    return some_services(client)


def entries(number):
    return [ListEntry(f"user-{each}", since_ms=each % 3) for each in range(number)]


@pytest.mark.parametrize("number", [1, 499, 500, 501, 1200])
def test_what_is_written_is_read(services, number):
    written = services.batch_lists.write(iter(entries(number)))

    read = [e for n in range(written.lists) for e in services.batch_lists.read(written.list_id, n)]
    assert read == entries(number)
    assert written.total == number


def test_nobody_is_no_list(services):
    written = services.batch_lists.write([])

    assert (written.lists, written.total) == (0, 0)


def test_a_source_that_breaks_leaves_nothing_behind(services, client):
    def breaking():
        yield from entries(12_000)
        raise ValueError("line 12001")

    with pytest.raises(ValueError, match="12001"):
        services.batch_lists.write(breaking())

    assert client.keys("kt:list:*") == []


def test_lists_of_no_batch_end_by_themselves(services, client):
    services.batch_lists.write(entries(1))

    (key,) = client.keys("kt:list:*")
    assert 0 < client.ttl(key) <= 3600


def test_a_user_who_stands_in_the_lists_twice_is_told_each_time(services):
    first = services.batch_lists.repeated("b1", 0, [(0, "ada"), (1, "bob"), (2, "ada")], 60)
    later = services.batch_lists.repeated("b1", 1, [(0, "bob"), (1, "eve")], 60)
    again = services.batch_lists.repeated("b1", 0, [(0, "ada"), (1, "bob"), (2, "ada")], 60)

    assert (first, later, again) == ({2}, {0}, {2})


def test_batches_do_not_know_each_others_users(services):
    services.batch_lists.repeated("b1", 0, [(0, "ada")], 60)

    assert services.batch_lists.repeated("b2", 3, [(7, "ada")], 60) == set()


def test_skips_are_told_by_place(services):
    services.batch_lists.note_skips("b1", 2, {0: "inactive", 499: "machine"}, 60)
    services.batch_lists.note_skips("b1", 2, {0: "inactive"}, 60)

    assert services.batch_lists.skips("b1", 2) == {0: "inactive", 499: "machine"}
    assert services.batch_lists.skips("b1", 3) == {}
