"""Resets listed page by page: of one user, or of all that the caller may see."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from shared.store import history
from tests.support.builders import a_token, a_user
from tests.support.wire import Wire, problem


class ListWire(Wire):
    """The wire, and whoever reads lists."""

    def list(self, query="", token=None, **headers):
        told = self.headers(token, **headers)
        return self.call(f"/keyturn/v1/resets{query}", method="GET", headers=told)

    def ids(self, query="", token=None, **headers):
        return [each["resetId"] for each in self.list(query, token, **headers).get_json()["resets"]]

    def pages(self, query="", token=None):
        """All ids, page after page."""
        pages, more = [], ""
        while True:
            told = self.list(f"?{query}{more}", token).get_json()
            pages.append([each["resetId"] for each in told["resets"]])
            if told["nextPageToken"] is None:
                return pages
            more = f"&pageToken={told['nextPageToken']}"

    def ask(self, user_id="ada", **fields):
        return self.reset(user_id, **fields).headers["Keyturn-Reset-Id"]


@pytest.fixture
def wire(client):
    wire = ListWire(client)
    for number in range(12):
        a_user(wire.services, f"u{number}", email=f"u{number}@example.com", phone=None)
    return wire


def test_the_resets_of_a_user_come_newest_first(wire):
    made = [wire.ask() for _ in range(3)]
    wire.ask("u1")

    assert wire.ids("?userId=ada") == made[::-1]


def test_a_reset_looks_as_it_does_alone(wire):
    reset_id = wire.ask()

    (told,) = wire.list("?userId=ada").get_json()["resets"]

    assert told == wire.show(reset_id).get_json()


def test_a_users_pages_hold_each_reset_once_whatever_comes_between(wire):
    made = [wire.ask() for _ in range(5)]
    first = wire.list("?userId=ada&limit=2").get_json()
    wire.ask()

    second = wire.list(f"?userId=ada&limit=2&pageToken={first['nextPageToken']}").get_json()
    third = wire.list(f"?userId=ada&limit=2&pageToken={second['nextPageToken']}").get_json()

    told = [each["resetId"] for page in (first, second, third) for each in page["resets"]]
    assert told == made[::-1]
    assert third["nextPageToken"] is None


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_all_pages_hold_each_reset_once(wire, limit):
    made = {wire.ask(f"u{number}") for number in range(12)}

    pages = wire.pages(f"limit={limit}")

    told = [reset_id for page in pages for reset_id in page]
    assert sorted(told) == sorted(made)
    assert max(map(len, pages)) <= limit


def test_a_page_ends_where_it_has_looked_at_enough(wire, monkeypatch):
    monkeypatch.setattr(history, "MAX_SCANNED", 1)
    monkeypatch.setattr(history, "LINES_AT_ONCE", 1)
    made = {wire.ask(f"u{number}") for number in range(12)}

    pages = wire.pages("limit=100")

    assert len(pages) >= 12
    assert {reset_id for page in pages for reset_id in page} == made


def test_resets_are_chosen_by_their_status(wire):
    overtaken, last = wire.ask(), wire.ask()

    assert wire.ids("?status=cancelled") == [overtaken]
    assert wire.ids("?status=queued") == [last]
    assert wire.ids("?userId=ada&status=cancelled") == [overtaken]
    assert wire.ids("?status=failed") == []


def test_resets_are_chosen_by_their_moment(wire):
    first, last = wire.ask(), wire.ask("u1")
    told = wire.show(last).get_json()["createdAt"]
    later = (datetime.fromisoformat(told) + timedelta(hours=1)).isoformat().replace("+", "%2B")

    assert wire.ids(f"?since={told}") == [last]
    assert set(wire.ids("?since=2020-01-01T00:00:00Z")) == {first, last}
    assert wire.ids(f"?since={later}") == []
    assert set(wire.ids("?since=2016-12-31t23:59:60z")) == {first, last}
    assert wire.ids(f"?userId=ada&since={told}") == []


def test_only_what_the_caller_may_see_is_listed(wire):
    a_user(wire.services, "bob", orgId="beta")
    both = a_token(wire.services, memberships={"acme": ("ORG_OWNER",), "beta": ("ORG_OWNER",)})
    mine, theirs = wire.ask(), wire.ask("bob", token=both, x_zitadel_orgid="beta")
    everywhere = a_token(wire.services, instance=("IAM_OWNER_VIEWER",))
    nobody = a_token(wire.services, "ORG_SETTINGS_MANAGER")

    assert wire.ids() == [mine]
    assert wire.ids("?userId=bob") == []
    assert set(wire.ids(token=both)) == {mine, theirs}
    assert wire.ids(token=both, x_zitadel_orgid="beta") == [theirs]
    assert set(wire.ids(token=everywhere)) == {mine, theirs}
    assert wire.ids(token=nobody) == wire.ids("?userId=ada", token=nobody) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "staus=failed",
        "status=lost",
        "since=yesterday",
        "since=2026-11-23T12:00:00",
        "since=2026-W48-1T12:00:00Z",
        "pageToken=x",
        "pageToken=1-2",
        f"userId={'u' * 201}",
        "userId=",
    ],
)
def test_a_query_that_cannot_be_understood_is_refused(wire, query):
    assert problem(wire.list(f"?{query}")) == (400, 3, None)


@pytest.mark.parametrize("token", ["0-0-0", "999999999-99-999999999", "1-15-7"])
def test_a_page_from_nowhere_harms_nothing(wire, token):
    wire.ask()

    assert wire.list(f"?pageToken={token}").status_code == 200


def test_nobody_lists_without_a_token(wire):
    assert problem(wire.call("/keyturn/v1/resets", method="GET")) == (401, 16, None)
