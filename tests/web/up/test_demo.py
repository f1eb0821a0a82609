"""The first start: secret keys and the demo, over the real store."""

from __future__ import annotations

import stat

import pytest

from shared.directories.redis import RedisDirectory
from shared.settings import load_settings
from shared.store.admin.audit import AuditStore
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from web.up.demo import demo_token, seed_demo, write_private, write_secret_keys

KEY = "k" * 32


@pytest.fixture
def callers(client):
    return CallerStore(client, Digests(client, (KEY,)))


@pytest.fixture
def users(client):
    return RedisDirectory(client, Digests(client, (KEY,)))


@pytest.fixture
def audit(client):
    return AuditStore(client, Digests(client, (KEY,)))


@pytest.fixture
def seed(callers, users, audit, tmp_path):
    return lambda: seed_demo(callers, users, audit, tmp_path)


def settings_of(data_dir, **environ):
    return load_settings({"KEYTURN_DATA_DIR": str(data_dir), **environ})


def test_the_demo_has_a_user_with_two_verified_addresses(seed, users):
    seed()

    user = users.find_user("ada")

    assert (user.org_id, user.language) == ("demo", "en")
    assert [user.email.address, user.phone.address] == ["ada@example.com", "+41791234567"]


def test_the_demo_token_owns_the_demo_organisation(seed, callers, tmp_path):
    seed()

    caller = callers.find_caller(demo_token(tmp_path))

    assert caller.org_id == "demo"
    assert stat.S_IMODE((tmp_path / "demo_token").stat().st_mode) == 0o600


def test_the_demo_is_seeded_once(seed, callers, tmp_path):
    seed()
    token = demo_token(tmp_path)

    seed()

    assert demo_token(tmp_path) == token
    assert len(callers.list_tokens()) == 1


def test_a_revoked_demo_token_is_not_replaced(seed, callers, tmp_path):
    seed()
    callers.revoke_token(callers.list_tokens()[0].token_id)

    seed()

    assert callers.find_caller(demo_token(tmp_path)) is None


def test_a_server_that_was_emptied_is_seeded_again(seed, users, callers, client):
    seed()
    client.delete(*[key for key in client.keys("*") if "digest" not in key and "pepper" not in key])

    seed()

    assert users.find_user("ada")
    assert callers.organisation_exists("demo")


def test_a_changed_demo_user_stays_as_it_is(seed, users):
    seed()
    users.import_users(['{"userId":"ada","orgId":"demo","language":"de"}'])

    seed()

    assert users.find_user("ada").language == "de"


def test_secret_keys_are_made_once(tmp_path):
    write_secret_keys(settings_of(tmp_path))
    first = settings_of(tmp_path).secret_keys

    write_secret_keys(settings_of(tmp_path))

    assert len(first) == 1
    assert settings_of(tmp_path).secret_keys == first
    assert stat.S_IMODE((tmp_path / "secret_keys").stat().st_mode) == 0o600


def test_secret_keys_of_the_settings_are_not_written_down(tmp_path):
    write_secret_keys(settings_of(tmp_path, KEYTURN_SECRET_KEYS=KEY))

    assert list(tmp_path.iterdir()) == []


def test_a_private_file_is_replaced_whole(tmp_path):
    write_private(tmp_path / "file", "old")
    write_private(tmp_path / "file", "new")

    assert (tmp_path / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_seeded_stands_in_the_audit_trail(seed, callers, audit):
    seed()
    seed()

    token = callers.list_tokens()[0].token_id
    assert [(e.act.action, e.act.target.split()[0], e.outcome) for e in audit.newest()] == [
        ("token.add", token, "done"),
        ("user.import", "ada", "done"),
        ("organisation.add", "demo", "done"),
    ]
