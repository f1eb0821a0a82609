"""A running Keyturn for the journeys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from foreign import install_clients
from house import CHECKOUT, House


@pytest.fixture
def open_house(tmp_path_factory):
    """`open_house(KEYTURN_…="…")`: a Keyturn of one's own, stopped after the test."""
    houses = []

    def open_one(
        *, wait: bool = True, called_in: Path = CHECKOUT, **overrides: str | None
    ) -> House:
        house = House(tmp_path_factory.mktemp("house"), called_in=called_in, **overrides)
        houses.append(house)
        return house.start(wait=wait)

    yield open_one
    for house in houses:
        house.stop()
        sys.stdout.write(f"--- {house.log_path}\n{house.log()[-8000:]}\n")


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """One Keyturn for all journeys that do not break it; limits per user are off."""
    shared = House(
        tmp_path_factory.mktemp("house"),
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_USER_LIMIT_PER_HOUR="0",
        KEYTURN_USER_LIMIT_PER_DAY="0",
    ).start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def clients():
    """Where the clients of others are installed."""
    return install_clients()


@pytest.fixture(autouse=True)
def _show_log(request):
    """The log of the shared Keyturn stands below a journey that failed."""
    yield
    if "house" in request.fixturenames:
        sys.stdout.write(request.getfixturevalue("house").log()[-8000:])
