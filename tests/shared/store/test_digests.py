from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.codes import key_id
from shared.errors import SettingsError, StoreUnavailableError
from shared.store import keys
from shared.store.connection import connect
from shared.store.digests import Digests

OLD = "an old key of more than thirty-two characters"
NEW = "a new key, also longer than thirty-two characters"
ID_SHAPE = re.compile("[0-9a-f][a-z2-7]{26}")


def test_a_digest_is_the_same_in_every_process(client):
    first, second = Digests(client, (OLD,)), Digests(client, (OLD,))

    assert first.digest("address", "ada@example.com") == second.digest("address", "ada@example.com")


def test_a_digest_differs_by_kind(client):
    digests = Digests(client, (OLD,))

    assert digests.digest("address", "x") != digests.digest("caller", "x")


def test_a_digest_differs_by_installation(client):
    before = Digests(client, (OLD,)).digest("address", "x")
    client.delete(keys.SEAL)

    assert Digests(client, (OLD,)).digest("address", "x") != before


def test_digests_stay_the_same_while_secret_keys_rotate(client):
    before = Digests(client, (OLD,)).user_place("ada")

    both = Digests(client, (NEW, OLD)).user_place("ada")
    after = Digests(client, (NEW,)).user_place("ada")

    assert before == both == after


def test_every_secret_key_of_ours_seals_the_digest_key(client):
    Digests(client, (NEW, OLD)).digest("address", "x")

    assert set(client.hkeys(keys.SEAL)) == {key_id(NEW), key_id(OLD), keys.LAYOUT[0]}


def test_foreign_keys_are_refused_rather_than_a_second_digest_key_made(client):
    Digests(client, (OLD,)).digest("address", "x")

    with pytest.raises(SettingsError, match=key_id(OLD)):
        Digests(client, (NEW,)).digest("address", "x")

    assert set(client.hkeys(keys.SEAL)) == {key_id(OLD), keys.LAYOUT[0]}


@pytest.mark.parametrize("layout", [{}, {"shards": "64"}, {"layout": "1"}, {"layout": "20"}])
def test_a_store_of_another_version_is_refused_with_a_sentence(client, layout):
    Digests(client, (OLD,)).digest("address", "x")
    client.hdel(keys.SEAL, keys.LAYOUT[0])
    for name, value in layout.items():
        client.hset(keys.SEAL, name, value)
    before = client.hgetall(keys.SEAL)

    with pytest.raises(SettingsError, match="Begin with an empty Redis"):
        Digests(client, (OLD,)).digest("address", "x")

    assert client.hgetall(keys.SEAL) == before


def test_a_damaged_seal_is_refused(client):
    client.hset(keys.SEAL, key_id(OLD), "nonsense")

    with pytest.raises(SettingsError):
        Digests(client, (OLD,)).digest("address", "x")


def test_a_damaged_seal_does_no_harm_when_another_key_opens(client):
    before = Digests(client, (NEW, OLD)).digest("address", "x")
    client.hset(keys.SEAL, key_id(NEW), "nonsense")

    assert Digests(client, (NEW, OLD)).digest("address", "x") == before


def test_no_secret_key_at_all_is_refused_with_a_sentence(client):
    with pytest.raises(SettingsError, match="KEYTURN_SECRET_KEYS is not set"):
        Digests(client, ())


def test_the_digest_key_never_stands_in_the_store(client):
    digests = Digests(client, (OLD,))
    digests.digest("address", "x")

    sealed = client.hget(keys.SEAL, key_id(OLD))

    assert digests._pepper not in sealed.encode()
    assert digests._pepper.hex() not in sealed


@pytest.mark.real_server
def test_processes_that_start_at_once_agree_on_the_digest_key(real_client):
    newcomers = [Digests(real_client, (f"{n} of many keys, each of them long enough", OLD))
                 for n in range(8)]  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda each: each.digest("address", "x"), newcomers))

    assert len(made) == 1


def test_a_new_reset_id_begins_with_the_users_shard(client):
    digests = Digests(client, (OLD,))

    ids = [digests.new_reset_id("ada") for _ in range(20)]

    assert {keys.tag_of(each) for each in ids} == {digests.user_place("ada")[0]}
    assert all(ID_SHAPE.fullmatch(each) for each in ids)
    assert len(set(ids)) == 20


def test_a_derived_reset_id_follows_from_its_parts_alone(client):
    digests = Digests(client, (OLD,))

    derived = digests.derived_reset_id("ada", "caller", "key")

    assert ID_SHAPE.fullmatch(derived)
    assert derived == digests.derived_reset_id("ada", "caller", "key")
    assert derived != digests.derived_reset_id("ada", "callerk", "ey")
    assert keys.tag_of(derived) == digests.user_place("ada")[0]


def test_users_are_spread_over_all_shards(client):
    digests = Digests(client, (OLD,))

    assert {digests.user_place(f"user-{n}")[0] for n in range(2000)} == set(keys.TAGS)


def test_a_user_id_of_any_characters_has_a_place(client):
    assert Digests(client, (OLD,)).user_place("ü🙂\ud800")[0] in keys.TAGS


def test_a_store_that_is_gone_is_told_as_unavailable():
    gone = connect("unix:///nonexistent/valkey.sock")

    with pytest.raises(StoreUnavailableError):
        Digests(gone, (OLD,)).digest("address", "x")
