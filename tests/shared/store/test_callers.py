from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from shared.errors import OrganisationUnknownError, StoreUnavailableError
from shared.models import Organisation
from shared.store import keys
from shared.store.callers import CallerStore, Grants
from shared.store.connection import connect
from shared.store.digests import Digests

pytestmark = pytest.mark.topology

SECRET = "a secret key of more than thirty-two characters"
OWNER = Grants(org_roles={"acme": frozenset({"ORG_OWNER"})})


@pytest.fixture
def callers(client):
    return a_store_with_acme(client)


def a_store_with_acme(client):
    store = CallerStore(client, Digests(client, (SECRET,)))
    store.save_organisation(Organisation("acme", "Acme"))
    return store


def test_a_token_leads_to_its_caller(callers):
    grants = Grants(frozenset({"IAM_OWNER_VIEWER"}), {"acme": frozenset({"ORG_OWNER"})})
    token, record = callers.create_token("acme", grants, user_id="ada")

    caller = callers.find_caller(token)

    assert (caller.token_id, caller.org_id, caller.user_id) == (record.token_id, "acme", "ada")
    assert caller.roles_in("acme") == {"ORG_OWNER", "IAM_OWNER_VIEWER"}
    assert caller.roles_in("other") == {"IAM_OWNER_VIEWER"}


def test_a_token_is_recognisable_by_its_prefix_with_256_random_bits(callers):
    token, _ = callers.create_token("acme", OWNER)

    assert token.startswith("kt_pat_")
    assert len(token) == len("kt_pat_") + 43


def test_the_token_itself_is_nowhere_in_the_store(client, callers):
    token, _ = callers.create_token("acme", OWNER)

    everything = [
        client.hgetall(key) if client.type(key) == "hash" else key for key in client.scan_iter()
    ]

    assert token not in str(everything)
    assert token.removeprefix("kt_pat_") not in str(everything)


@pytest.mark.parametrize(
    "token",
    ["", "kt_pat_", f"kt_pat_{'A' * 43}", "A" * 50, f"kt_pat_{'A' * 99999}", f"kt_pat_{'ü' * 43}"],
    ids=["empty", "prefix", "unknown", "foreign", "endless", "not-ascii"],
)  # fmt: skip
def test_an_unknown_token_leads_to_nobody(callers, token):
    assert callers.find_caller(token) is None


def test_a_revoked_token_leads_to_nobody(callers):
    token, record = callers.create_token("acme", OWNER)

    assert callers.revoke_token(record.token_id)

    assert callers.find_caller(token) is None


def test_a_token_revoked_twice_keeps_the_first_moment(callers):
    _, record = callers.create_token("acme", OWNER)
    callers.revoke_token(record.token_id)
    (first,) = callers.list_tokens()
    time.sleep(0.002)

    callers.revoke_token(record.token_id)

    assert callers.list_tokens() == [first]


def test_revoking_an_unknown_token_says_so(callers):
    assert callers.revoke_token("0123456789ab") is False


def test_an_expired_token_leads_to_nobody(callers):
    token, _ = callers.create_token("acme", OWNER, lifetime_seconds=0.03)
    time.sleep(0.05)

    assert callers.find_caller(token) is None


def test_a_caller_knows_how_long_its_token_lives(callers):
    token, _ = callers.create_token("acme", OWNER, lifetime_seconds=60)

    assert 59 < callers.find_caller(token).seconds_left <= 60


def test_a_token_without_an_end_lives_for_ever(callers):
    token, record = callers.create_token("acme", OWNER)

    assert record.expires_at is None
    assert callers.find_caller(token).seconds_left is None


def test_a_token_expires_after_its_lifetime(callers):
    _, record = callers.create_token("acme", OWNER, lifetime_seconds=90 * 86400)

    assert record.expires_at - record.created_at == timedelta(days=90)


@pytest.mark.parametrize("org_id", ["nowhere", ""])
def test_a_token_of_an_unknown_organisation_is_refused(callers, org_id):
    with pytest.raises(OrganisationUnknownError):
        callers.create_token(org_id, OWNER)


def test_a_membership_in_an_unknown_organisation_is_refused(callers):
    with pytest.raises(OrganisationUnknownError, match="nowhere"):
        callers.create_token("acme", Grants(org_roles={"nowhere": frozenset({"ORG_OWNER"})}))

    assert callers.list_tokens() == []


def test_the_use_of_a_token_is_noted(callers):
    token, record = callers.create_token("acme", OWNER)
    assert record.last_used_at is None

    callers.find_caller(token)

    (listed,) = callers.list_tokens()
    assert abs(listed.last_used_at - callers.now()) < timedelta(seconds=5)


def test_the_use_of_a_token_is_noted_once_a_minute_at_most(client, callers):
    token, _ = callers.create_token("acme", OWNER)
    callers.find_caller(token)
    (first,) = callers.list_tokens()
    time.sleep(0.002)

    callers.find_caller(token)

    assert callers.list_tokens() == [first]


def test_the_use_of_a_token_is_noted_again_after_a_minute(client, callers):
    token, _ = callers.create_token("acme", OWNER)
    long_ago_ms = int(callers.now().timestamp() * 1000) - 60_000
    client.hset(keys.token(Digests.token_digest(token)), "used", str(long_ago_ms))

    callers.find_caller(token)

    assert int(client.hget(keys.token(Digests.token_digest(token)), "used")) > long_ago_ms


def test_tokens_are_listed_with_their_state(callers):
    _, revoked = callers.create_token("acme", OWNER)
    callers.revoke_token(revoked.token_id)
    _, expired = callers.create_token("acme", OWNER, lifetime_seconds=0.001)
    _, valid = callers.create_token("acme", OWNER)

    time.sleep(0.005)
    states = {each.token_id: each.state(callers.now()) for each in callers.list_tokens()}

    assert states == {
        revoked.token_id: "revoked", expired.token_id: "expired", valid.token_id: "valid",
    }  # fmt: skip


def test_an_organisation_is_found_as_it_was_saved(callers):
    organisation = Organisation("beta", "Bêta & Co", "de-CH", ("a.example", "b.example:8443"))

    callers.save_organisation(organisation)

    assert callers.find_organisation("beta") == organisation
    assert callers.organisation_exists("beta")


def test_an_unknown_organisation_is_nobody(callers):
    assert callers.find_organisation("nowhere") is None
    assert not callers.organisation_exists("nowhere")


def test_organisations_are_listed_by_id(callers):
    callers.save_organisation(Organisation("aaa", "First"))

    assert [each.org_id for each in callers.list_organisations()] == ["aaa", "acme"]


@pytest.mark.parametrize(
    "change",
    [
        lambda store, _: store.create_token("acme", OWNER),
        lambda store, token_id: store.revoke_token(token_id),
        lambda store, _: store.save_organisation(Organisation("acme", "Renamed")),
    ],
    ids=["token-added", "token-revoked", "organisation-saved"],
)
def test_every_change_raises_the_version(callers, change):
    _, record = callers.create_token("acme", OWNER)
    before = version_of(callers)

    change(callers, record.token_id)

    assert version_of(callers) == before + 1


def version_of(callers):
    return int(callers._client.get(keys.VERSION) or 0)


def test_a_look_up_leaves_the_version_alone(callers):
    token, _ = callers.create_token("acme", OWNER)
    before = version_of(callers)

    caller = callers.find_caller(token)

    assert version_of(callers) == before == caller.version


@pytest.mark.real_server
def test_a_caller_is_found_in_one_round_trip(real_client):
    callers = a_store_with_acme(real_client)
    token, _ = callers.create_token("acme", OWNER)
    callers.find_caller(token)
    before = real_client.info("stats")["total_reads_processed"]

    callers.find_caller(token)

    assert real_client.info("stats")["total_reads_processed"] - before == 2  # it, and this info


@pytest.mark.real_server
def test_a_full_server_still_knows_its_callers(real_client):
    callers = a_store_with_acme(real_client)
    token, record = callers.create_token("acme", OWNER)

    with a_full_server(real_client):
        caller = callers.find_caller(token)
        with pytest.raises(StoreUnavailableError):
            callers.create_token("acme", OWNER)

    assert caller.token_id == record.token_id


@contextmanager
def a_full_server(client):
    before = client.config_get("maxmemory*")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", before["maxmemory"])
        client.config_set("maxmemory-policy", before["maxmemory-policy"])


def test_a_store_that_is_gone_is_told_as_unavailable():
    gone = connect("unix:///nonexistent/valkey.sock")
    callers = CallerStore(gone, Digests(gone, (SECRET,)))

    for ask in (
        lambda: callers.find_caller("kt_pat_" + "A" * 43),
        callers.list_tokens,
        callers.list_organisations,
        lambda: callers.create_token("acme", OWNER),
    ):
        with pytest.raises(StoreUnavailableError):
            ask()
