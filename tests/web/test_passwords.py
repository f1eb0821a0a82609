"""Using a code while the store fails: the password and its code change together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import CodeUnusableError, DirectoryUnavailableError, StoreUnavailableError
from shared.models import Kind, Status
from tests.support.builders import a_user, an_organisation, some_services
from tests.support.store_builders import GUESSER, Stores
from web.passwords import complete_reset
from web.services import build_web_services

PASSWORD = "Correct-horse-1"


class LostAnswers:
    """A store that completes, but whose answer is lost so many times."""

    def __init__(self, store, times, *, runs):
        self._store, self._times, self._runs = store, times, runs

    def __getattr__(self, name):
        return getattr(self._store, name)

    def complete(self, *place, **fields):
        if self._times == 0:
            return self._store.complete(*place, **fields)
        self._times -= 1
        if self._runs:
            self._store.complete(*place, **fields)
        raise StoreUnavailableError


class SilentDirectory:
    """Finds users, but cannot set their passwords now."""

    def __init__(self, directory):
        self._directory = directory

    def find_user(self, user_id):
        return self._directory.find_user(user_id)

    def set_password(self, user, password, *, change_required=False, only_if=None):
        raise DirectoryUnavailableError


@pytest.fixture
def services(client):
    services = some_services(client)
    an_organisation(services)
    a_user(services)
    return build_web_services(services)


@pytest.fixture
def stores(client, services):
    stores = (
        services.digests,
        services.resets,
        services.code_store,
        services.dues,
        services.counters,
    )
    return Stores(client, *stores)


@pytest.fixture
def reset_id(services, stores):
    return stores.record(kind=Kind.RETURNED, key_id=services.codes.signing_key_id)


def complete(services, reset_id):
    code = services.codes.code(reset_id, services.codes.signing_key_id).formatted
    return complete_reset(
        services, user_id="ada", typed_code=code, new_password=PASSWORD, guesser=GUESSER
    )


def has_new_password(services):
    return services.directory.has_password(services.directory.find_user("ada"), PASSWORD)


@pytest.mark.parametrize("runs", [True, False], ids=["answer lost", "call lost"])
def test_a_store_that_fails_after_the_password_was_set_is_asked_again(
    services, stores, reset_id, runs
):
    losing = replace(services, code_store=LostAnswers(services.code_store, 1, runs=runs))

    done = complete(losing, reset_id)

    assert has_new_password(services)
    assert done.sequence == 2
    assert stores.live() == set()
    assert services.counters.totals()["completed"] == 1
    assert stores.census() == {Status.QUEUED: 1}


def test_a_store_that_stays_away_is_told_to_the_caller(services, stores, reset_id):
    losing = replace(services, code_store=LostAnswers(services.code_store, 9, runs=False))

    with pytest.raises(StoreUnavailableError):
        complete(losing, reset_id)

    assert stores.live() == {reset_id}


def test_a_directory_that_is_away_leaves_the_code_usable(services, stores, reset_id):
    silent = replace(services, directory=SilentDirectory(services.directory))

    with pytest.raises(DirectoryUnavailableError):
        complete(silent, reset_id)

    assert complete(services, reset_id).sequence == 2
    assert has_new_password(services)


def test_a_code_works_once(services, reset_id):
    complete(services, reset_id)

    with pytest.raises(CodeUnusableError):
        complete(services, reset_id)


def test_completing_hints_at_the_notice(services, stores, reset_id):
    complete(services, reset_id)

    (hint,) = services.hints.published
    assert stores.resets.find(hint.about).kind is Kind.NOTICE
