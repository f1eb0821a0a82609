from __future__ import annotations

import json
import threading
import time

import pytest

from shared.directories.passwords import HASHES_AT_ONCE, Argon2Hasher
from shared.directories.redis import RedisDirectory
from shared.errors import DirectoryUnavailableError, ImportLineError, KeyturnError
from shared.models import Channel, Organisation, Recipient, User, UserKind, UserState
from shared.store import keys
from shared.store.callers import CallerStore
from shared.store.connection import connect
from shared.store.digests import Digests

pytestmark = pytest.mark.topology

SECRET = "a secret key of more than thirty-two characters"
ADA = {"userId": "ada", "orgId": "acme"}


def a_directory(client):
    digests = Digests(client, (SECRET,))
    CallerStore(client, digests).save_organisation(Organisation("acme", "Acme"))
    return RedisDirectory(client, digests, hasher=Argon2Hasher(memory_kib=64, passes=1))


@pytest.fixture
def directory(client):
    return a_directory(client)


def lines(*users):
    return [json.dumps(user) for user in users]


def test_an_imported_user_is_found_as_given(directory):
    report = directory.import_users(
        lines(
            ADA | {
                "userName": "ada", "displayName": "Ada Lovelace", "language": "de-CH",
                "email": "ada@example.com", "emailVerified": True, "phone": "+41 79 123 45 67",
                "state": "locked", "kind": "machine",
            }
        )
    )  # fmt: skip

    assert (report.imported, report.updated) == (1, 0)
    assert directory.find_user("ada") == User(
        "ada", "acme", UserState.LOCKED, UserKind.MACHINE, "ada", "Ada Lovelace", "de-CH",
        Recipient(Channel.EMAIL, "ada@example.com", is_verified=True),
        Recipient(Channel.SMS, "+41791234567", is_verified=False),
    )  # fmt: skip


def test_a_user_of_the_two_required_fields_is_an_active_human(directory):
    directory.import_users(lines(ADA))

    assert directory.find_user("ada") == User("ada", "acme")


@pytest.mark.parametrize("user_id", ["nobody", "", "a/b", "ada\n", "🙂", "x" * 5000])
def test_an_unknown_user_is_nobody(directory, user_id):
    directory.import_users(lines(ADA))

    assert directory.find_user(user_id) is None


def test_an_update_replaces_what_is_given(directory):
    directory.import_users(lines(ADA | {"displayName": "Ada", "language": "de"}))

    report = directory.import_users(lines(ADA | {"displayName": "Countess"}))

    assert (report.imported, report.updated) == (0, 1)
    user = directory.find_user("ada")
    assert (user.display_name, user.language) == ("Countess", "de")


def test_an_update_without_a_password_keeps_it(directory):
    directory.import_users(lines(ADA | {"password": "Correct-horse-1"}))

    directory.import_users(lines(ADA | {"state": "locked"}))

    assert directory.has_password(directory.find_user("ada"), "Correct-horse-1")


def test_null_takes_a_value_away(directory):
    directory.import_users(lines(ADA | {"phone": "+41791234567", "displayName": "Ada"}))

    directory.import_users(lines(ADA | {"phone": None, "displayName": None}))

    user = directory.find_user("ada")
    assert (user.phone, user.display_name) == (None, "")
    assert directory.find_users_by_address("+41791234567") == []


def test_a_changed_address_is_unverified_unless_the_line_says_otherwise(directory):
    directory.import_users(lines(ADA | {"email": "ada@example.com", "emailVerified": True}))

    directory.import_users(lines(ADA | {"email": "new@example.com"}))

    assert directory.find_user("ada").email.is_verified is False


def test_the_same_address_given_again_stays_verified(directory):
    directory.import_users(lines(ADA | {"email": "ada@example.com", "emailVerified": True}))

    directory.import_users(lines(ADA | {"email": "ada@EXAMPLE.com"}))

    assert directory.find_user("ada").email.is_verified is True


@pytest.mark.parametrize(
    ("address", "user_ids"),
    [("shared@example.com", ["ada", "bob"]), ("Shared@Example.COM", ["ada", "bob"]),
     (" shared@example.com ", ["ada", "bob"]), ("+41 79 123 45 67", ["bob"]),
     ("nobody@example.com", []), ("", []), ("nonsense", [])],
)  # fmt: skip
def test_users_are_found_by_address_however_it_is_spelled(directory, address, user_ids):
    directory.import_users(
        lines(
            ADA | {"email": "shared@example.com"},
            {"userId": "bob", "orgId": "acme", "email": "SHARED@example.com",
             "phone": "+41791234567"},
        )
    )  # fmt: skip

    assert [user.user_id for user in directory.find_users_by_address(address)] == user_ids


def test_an_old_address_no_longer_leads_to_its_user(client, directory):
    directory.import_users(lines(ADA | {"email": "old@example.com"}))

    directory.import_users(lines(ADA | {"email": "new@example.com"}))

    assert directory.find_users_by_address("old@example.com") == []
    assert [user.user_id for user in directory.find_users_by_address("new@example.com")] == ["ada"]
    assert len(list(client.scan_iter("kt:addr:*"))) == 2  # the former is erased by address, too


def test_an_address_stands_in_the_users_record_alone(client, directory):
    directory.import_users(lines(ADA | {"email": "ada@example.com", "phone": "+41791234567"}))

    others = [key for key in client.scan_iter() if key != keys.directory_user("ada")]

    assert not any("example.com" in key or "4179" in key for key in others)


def test_an_id_twice_in_one_file_ends_as_its_last_line_says(client, directory):
    report = directory.import_users(
        lines(ADA | {"email": "one@example.com", "language": "de"}, ADA | {"email": "two@b.ch"})
    )

    user = directory.find_user("ada")
    assert (report.imported, report.updated) == (1, 1)
    assert (user.email.address, user.language) == ("two@b.ch", "de")
    assert directory.find_users_by_address("one@example.com") == []


def test_a_bad_line_is_named_by_its_number(directory):
    file = [*lines(ADA), "", *lines({"userId": "bob", "orgId": "acme", "email": "b\nb@x.ch"})]

    with pytest.raises(ImportLineError, match=r"^line 3: email must be .*; nothing was imported$"):
        directory.import_users(file)


def test_nothing_of_a_file_with_a_bad_line_is_taken(client, directory):
    before = client.dbsize()

    with pytest.raises(ImportLineError):
        directory.import_users([*lines(ADA), "{"])

    assert directory.find_user("ada") is None
    assert client.dbsize() == before


def test_an_unknown_organisation_is_named_with_its_line(directory):
    with pytest.raises(ImportLineError, match=r"line 2: the organisation nowhere does not exist"):
        directory.import_users(lines(ADA, {"userId": "bob", "orgId": "nowhere"}))


@pytest.mark.parametrize("org_id", ["ada@example.com", "+41791234567"])
def test_an_address_in_place_of_an_organisation_is_not_repeated(directory, org_id):
    with pytest.raises(ImportLineError) as caught:
        directory.import_users(lines({"userId": "bob", "orgId": org_id}))

    assert org_id not in str(caught.value)


def test_a_byte_order_mark_does_no_harm(directory):
    report = directory.import_users([b"\xef\xbb\xbf" + lines(ADA)[0].encode()])

    assert report.imported == 1


def test_an_empty_file_imports_nobody(directory):
    report = directory.import_users([])

    assert (report.imported, report.updated) == (0, 0)


@pytest.mark.real_server
def test_a_file_of_several_thousand_users_is_taken_whole(real_client):
    directory = a_directory(real_client)
    users = [{"userId": f"u{n}", "orgId": "acme", "email": f"u{n}@b.ch"} for n in range(2500)]

    first = directory.import_users(lines(*users))
    second = directory.import_users(lines(*users))

    assert (first.imported, first.updated) == (2500, 0)
    assert (second.imported, second.updated) == (0, 2500)
    assert directory.find_user("u2499").email.address == "u2499@b.ch"


def test_a_new_password_replaces_the_old_one(directory):
    directory.import_users(lines(ADA | {"password": "old password"}))
    user = directory.find_user("ada")

    directory.set_password(user, "new password")

    assert directory.has_password(user, "new password")
    assert not directory.has_password(user, "old password")


def test_a_user_without_a_password_has_none(directory):
    directory.import_users(lines(ADA))

    assert not directory.has_password(directory.find_user("ada"), "")


def test_a_password_is_stored_as_argon2id_only(client, directory):
    directory.import_users(lines(ADA | {"password": "Correct-horse-1"}))

    stored = client.hgetall(keys.directory_user("ada"))

    assert stored["password"].startswith("$argon2id$")
    assert "Correct-horse-1" not in str(stored)


def test_a_damaged_password_hash_matches_nothing(client, directory):
    directory.import_users(lines(ADA))
    client.hset(keys.directory_user("ada"), "password", "nonsense")

    assert not directory.has_password(directory.find_user("ada"), "nonsense")


def test_no_more_than_two_passwords_are_hashed_at_once():
    hasher = Argon2Hasher()
    at_once = []

    class Watched:
        def hash(self, password):
            at_once.append(hasher._slots._value)
            time.sleep(0.01)
            return password

    hasher._argon2 = Watched()
    threads = [threading.Thread(target=hasher.hash, args=("x",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(at_once) == 6
    assert all(0 <= places < HASHES_AT_ONCE for places in at_once)


@pytest.mark.real_server
def test_a_user_is_found_in_one_round_trip(real_client):
    directory = a_directory(real_client)
    directory.import_users(lines(ADA))
    before = real_client.info("stats")["total_reads_processed"]

    directory.find_user("ada")

    assert real_client.info("stats")["total_reads_processed"] - before == 2  # it, and this info


def test_a_server_that_is_gone_is_told_as_unavailable():
    gone = connect("unix:///nonexistent/valkey.sock")
    directory = RedisDirectory(gone, Digests(gone, (SECRET,)))
    user = User("ada", "acme")

    for ask in (
        lambda: directory.find_user("ada"),
        lambda: directory.find_users_by_address("ada@example.com"),
        lambda: directory.has_password(user, "x"),
        lambda: directory.set_password(user, "x"),
        lambda: directory.import_users(lines(ADA)),
    ):
        with pytest.raises(DirectoryUnavailableError):
            ask()


def test_an_import_that_is_cut_off_says_how_far_it_came(directory):
    users = [{"userId": f"u{n}", "orgId": "acme"} for n in range(1500)]
    save = directory.save_fields
    calls = []

    def save_once(changes):
        calls.append(1)
        if len(calls) > 1:
            raise DirectoryUnavailableError
        save(changes)

    directory.save_fields = save_once

    with pytest.raises(KeyturnError, match="after 1000 users were written"):
        directory.import_users(lines(*users))
