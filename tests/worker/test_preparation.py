from __future__ import annotations

from shared.models import Organisation
from worker.preparation import remember

SECONDS = 2.0
ACME = Organisation("acme", "Acme")


class Store:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def find(self, org_id: str) -> Organisation | None:
        self.asked.append(org_id)
        return ACME if org_id == "acme" else None


def test_an_organisation_is_asked_for_once_in_a_moment():
    store, now = Store(), [0.0]
    find = remember(store.find, seconds=SECONDS, max_size=10, clock=lambda: now[0])

    found = [find("acme") for _ in range(3)]

    assert found == [ACME] * 3
    assert store.asked == ["acme"]


def test_a_changed_organisation_is_noticed_after_the_moment():
    store, now = Store(), [0.0]
    find = remember(store.find, seconds=SECONDS, max_size=10, clock=lambda: now[0])
    find("acme")

    now[0] = SECONDS
    find("acme")

    assert store.asked == ["acme", "acme"]


def test_that_there_is_none_is_remembered_too():
    store = Store()
    find = remember(store.find, seconds=SECONDS, max_size=10, clock=lambda: 0.0)

    assert [find("gone"), find("gone")] == [None, None]
    assert store.asked == ["gone"]
