"""A running Keyturn for the journeys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import CHECKOUT
from tests.journeys.foreign import install_clients
from tests.journeys.stack import Stack


@pytest.fixture
def start_keyturn(tmp_path_factory):
    """`start_keyturn(KEYTURN_…="…")`: a Keyturn of one's own, stopped after the test."""
    started = []

    def start(*, wait: bool = True, called_in: Path = CHECKOUT, **overrides: str | None) -> Stack:
        keyturn = Stack(tmp_path_factory.mktemp("keyturn"), called_in=called_in, **overrides)
        started.append(keyturn)
        return keyturn.start(wait=wait)

    yield start
    for keyturn in started:
        keyturn.stop()
        sys.stdout.write(f"--- {keyturn.log_path}\n{keyturn.log()[-8000:]}\n")


@pytest.fixture(scope="session")
def keyturn(tmp_path_factory):
    """One Keyturn for all journeys that do not break it; limits per user are off."""
    shared = Stack(
        tmp_path_factory.mktemp("keyturn"),
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
    if "keyturn" in request.fixturenames:
        sys.stdout.write(request.getfixturevalue("keyturn").log()[-8000:])
