"""What every directory promises. A new one is one more builder in BUILDERS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared import settings
from shared.directories import Directory
from shared.directories.passwords import Argon2Hasher
from shared.directories.redis import RedisDirectory
from shared.directories.registry import DIRECTORIES
from shared.errors import UserChangedError
from shared.models import Channel, Organisation, Recipient, User, UserKind, UserState
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from tests.support.directories import (
    OWN,
    a_sql_directory,
    an_http_directory,
    fill,
    flask_example,
    serving,
    sqlite_url,
    write_table,
)

SECRET = "a secret key of more than thirty-two characters"
PASSWORD = "Correct-horse-1"
ADA = User(
    "ada", "acme", UserState.ACTIVE, UserKind.HUMAN, "ada", "Ada Lovelace", "de-CH",
    Recipient(Channel.EMAIL, "ada@example.com", is_verified=True),
    Recipient(Channel.SMS, "+41791234567", is_verified=False),
)  # fmt: skip
ROBOT = User("robot", "acme", UserState.LOCKED, UserKind.MACHINE)


def a_redis_directory(client) -> Directory:
    digests = Digests(client, (SECRET,))
    CallerStore(client, digests).save_organisation(Organisation("acme", "Acme"))
    directory = RedisDirectory(client, digests, hasher=Argon2Hasher(memory_kib=64, passes=1))
    ada = {
        "userId": "ada", "orgId": "acme", "userName": "ada", "displayName": "Ada Lovelace",
        "language": "de-CH", "email": "ada@example.com", "emailVerified": True,
        "phone": "+41791234567", "password": PASSWORD,
    }  # fmt: skip
    robot = {"userId": "robot", "orgId": "acme", "state": "locked", "kind": "machine"}
    directory.import_users([json.dumps(ada), json.dumps(robot)])
    return directory


def a_table(form: str):
    @contextmanager
    def build(folder: Path, url: str = "") -> Iterator[Directory]:
        url = url or sqlite_url(folder)
        fill(url, form)
        directory = a_sql_directory(url, write_table(folder, form))
        yield directory
        directory.engine.dispose()

    return build


@contextmanager
def own_statements(folder: Path) -> Iterator[Directory]:
    url = sqlite_url(folder)
    fill(url, "pbkdf2_sha256")
    (folder / "own.toml").write_text(OWN)
    directory = a_sql_directory(url, folder / "own.toml")
    yield directory
    directory.engine.dispose()


@contextmanager
def an_application(_folder: Path) -> Iterator[Directory]:
    with serving(flask_example()) as url:
        yield an_http_directory(url)


OUTSIDE = {
    "sql": a_table("bcrypt_2y"),
    "sql-django": a_table("pbkdf2_sha256"),
    "sql-statements": own_statements,
    "http": an_application,
}


def test_the_settings_know_the_registered_directories():
    known = {"redis", *(name.partition("-")[0] for name in OUTSIDE)}

    assert set(DIRECTORIES) == set(settings.DIRECTORIES) == known


REAL = [
    pytest.param("redis-real", marks=pytest.mark.real_server),
    pytest.param("postgresql_url", marks=pytest.mark.database),
    pytest.param("mariadb_url", marks=pytest.mark.database),
]


@pytest.fixture(params=["redis", *OUTSIDE, *REAL])
def directory(request, tmp_path):
    if request.param.startswith("redis"):
        name = "real_client" if request.param == "redis-real" else "fake_client"
        yield a_redis_directory(request.getfixturevalue(name))
        return
    is_server = request.param.endswith("_url")
    build = a_table("bcrypt_2a") if is_server else OUTSIDE[request.param]
    more = [request.getfixturevalue(request.param)] if is_server else []
    with build(tmp_path, *more) as built:
        yield built


@pytest.mark.parametrize("user", [ADA, ROBOT], ids=["everything", "nothing"])
def test_a_user_is_found_with_all_that_is_known(directory, user):
    assert directory.find_user(user.user_id) == user


@pytest.mark.parametrize("user_id", ["nobody", "ADA", "", "a/b", "ada\r\n", "*", "🙂", "x" * 201])
def test_an_unknown_id_is_nobody(directory, user_id):
    assert directory.find_user(user_id) is None


def test_many_users_are_found_in_the_order_of_their_ids(directory):
    assert directory.find_users(["robot", "nobody", "ada"]) == [ROBOT, None, ADA]
    assert directory.find_users(["a/b", "", "x" * 201]) == [None] * 3
    assert directory.find_users([]) == []


@pytest.mark.parametrize("address", ["ada@example.com", "ADA@Example.com", "+41791234567"])
def test_a_user_is_found_by_an_address(directory, address):
    assert directory.find_users_by_address(address) == [ADA]


@pytest.mark.parametrize(
    "identifier", ["ada@example.com", " ADA@Example.com", "+41 79 123 45 67", "ada", "Ada"]
)
@pytest.mark.parametrize("org_id", ["acme", None])
def test_a_user_is_found_by_what_people_type(directory, identifier, org_id):
    assert directory.find_by_identifier(identifier, org_id) == [ADA]


@pytest.mark.parametrize(
    ("identifier", "org_id"),
    [("ada", "beta"), ("ada@example.com", "beta"), ("ad", None), ("ada%", None), ("", None),
     ("*", "acme"), ("robot", None), ("ada\n", "ACME"), ("x" * 5000, None), ("a\0", None)],
)  # fmt: skip
def test_an_identifier_nobody_has_there_finds_nobody(directory, identifier, org_id):
    assert directory.find_by_identifier(identifier, org_id) == []


@pytest.mark.parametrize("address", ["bob@example.com", "ada", "", "*", "+41790000000"])
def test_an_address_nobody_has_finds_nobody(directory, address):
    assert directory.find_users_by_address(address) == []


def test_the_present_password_is_recognised(directory):
    assert directory.has_password(ADA, PASSWORD)


@pytest.mark.parametrize("password", ["", "correct-horse-1", PASSWORD + " ", "x" * 200])
def test_another_password_is_not(directory, password):
    assert not directory.has_password(ADA, password)


def test_who_has_no_password_has_not_the_empty_one(directory):
    assert not directory.has_password(ROBOT, "")


@pytest.mark.parametrize("password", ["New-password-2", "pässwörd 🙂", "x" * 200])
def test_a_password_that_was_set_is_the_only_one(directory, password):
    directory.set_password(ADA, password)

    assert directory.has_password(ADA, password)
    assert not directory.has_password(ADA, PASSWORD)


def test_setting_a_password_changes_nothing_else(directory):
    directory.set_password(ADA, "New-password-2")

    assert directory.find_user("ada") == ADA


def test_a_password_may_depend_on_the_user_as_it_is_then(directory):
    seen = []

    with pytest.raises(UserChangedError):
        directory.set_password(ADA, "New-password-2", only_if=lambda user: bool(seen.append(user)))

    assert seen == [ADA]
    assert directory.has_password(ADA, PASSWORD)
    assert directory.set_password(ADA, "New-password-2", only_if=lambda _: True) == ADA
    assert directory.has_password(ADA, "New-password-2")


def test_a_password_is_set_for_nobody_who_is_unknown(directory):
    with pytest.raises(UserChangedError):
        directory.set_password(User("nobody", "acme"), PASSWORD)

    assert directory.find_user("nobody") is None


def test_a_password_is_another_revision_of_the_user_if_they_are_counted(directory):
    before = directory.find_user("ada")

    directory.set_password(ADA, PASSWORD)

    after = directory.find_user("ada")
    assert before.revision == after.revision == "" or before.revision != after.revision
    assert before.email.revision == after.email.revision


def test_forgetting_former_addresses_leaves_the_present_ones(directory):
    directory.forget_former_emails()

    assert directory.find_user("ada") == ADA
    assert directory.find_user("ada").former_emails == ()


def test_a_required_change_lasts_until_the_next_password(directory):
    directory.set_password(ADA, PASSWORD, change_required=True)
    assert directory.find_user("ada").must_change_password

    directory.set_password(ADA, "New-password-2")

    assert not directory.find_user("ada").must_change_password
