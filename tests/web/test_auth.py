from __future__ import annotations

import time

import pytest

from shared.errors import (
    AuthHeaderInvalidError,
    AuthHeaderMissingError,
    MembershipMissingError,
    OrganisationUnknownError,
    PermissionDeniedError,
    TokenInvalidError,
)
from shared.models import Caller, Organisation
from shared.settings import load_settings
from shared.store.callers import CallerStore, Grants
from shared.store.digests import Digests
from web.auth import CACHE_ENTRIES, CACHE_SECONDS, Authenticator, Credentials

SECRET = "a secret key of more than thirty-two characters"
WRITERS = ("IAM_OWNER", "IAM_ORG_MANAGER", "IAM_USER_MANAGER", "IAM_LOGIN_CLIENT",
           "ORG_OWNER", "ORG_USER_MANAGER")  # fmt: skip
READERS = ("IAM_OWNER_VIEWER", "ORG_OWNER_VIEWER")
NEITHER = ("ORG_SETTINGS_MANAGER", "PROJECT_OWNER", "IAM_ADMIN_IMPERSONATOR",
           "ORG_END_USER_IMPERSONATOR", "PROJECT_OWNER_VIEWER",
           "ORG_USER_SELF_MANAGER")  # fmt: skip


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class CountingCallers(CallerStore):
    """A store that counts how often it is asked."""

    asked = 0

    def find_caller(self, token):
        self.asked += 1
        return super().find_caller(token)

    def find_organisation(self, org_id):
        self.asked += 1
        return super().find_organisation(org_id)


@pytest.fixture
def callers(fake_client):
    store = CountingCallers(fake_client, Digests(fake_client, (SECRET,)))
    store.save_organisation(Organisation("acme", "Acme"))
    store.save_organisation(Organisation("beta", "Beta"))
    return store


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def auth(callers, clock):
    return Authenticator(callers, load_settings({}), clock=clock)


def a_caller(*, instance=(), **org_roles):
    roles = {org_id: frozenset(names) for org_id, names in org_roles.items()}
    return Caller("t1", "acme", None, frozenset(instance), roles)


def bearing(header):
    return Credentials(header, None)


def a_token(callers, **fields):
    return callers.create_token("acme", Grants(org_roles={"acme": {"ORG_OWNER"}}), **fields)


@pytest.mark.parametrize("header", [None, ""])
def test_no_authorization_header_is_told_as_missing(auth, header):
    with pytest.raises(AuthHeaderMissingError):
        auth.authenticate(bearing(header))


@pytest.mark.parametrize(
    "header",
    [
        "Bearer", "Bearer ", "bearer TOKEN", "BEARER TOKEN", "Bearer  TOKEN", "Bearer TOKEN ",
        " Bearer TOKEN", "Bearer TOKEN TOKEN", "Bearer\tTOKEN", "Bearer TOKEN\n", "Basic TOKEN",
        "TOKEN", "Bearer TOK\x00EN", "Bearer TOKÉN", "Token TOKEN", "Bearer,TOKEN",
    ],
)  # fmt: skip
def test_a_header_that_is_not_exactly_bearer_and_token_is_refused(auth, callers, header):
    token, _ = a_token(callers)

    with pytest.raises(AuthHeaderInvalidError):
        auth.authenticate(bearing(header.replace("TOKEN", token)))


@pytest.mark.parametrize("token", ["x", "kt_pat_" + "A" * 43, "a.b.c", "kt_pat_" + "A" * 60_000])
def test_an_unknown_token_is_refused(auth, token):
    with pytest.raises(TokenInvalidError):
        auth.authenticate(bearing(f"Bearer {token}"))


def test_a_revoked_token_is_refused(auth, callers):
    token, record = a_token(callers)
    callers.revoke_token(record.token_id)

    with pytest.raises(TokenInvalidError):
        auth.authenticate(bearing(f"Bearer {token}"))


def test_an_expired_token_is_refused(auth, callers):
    token, _ = a_token(callers, lifetime_seconds=0.01)
    time.sleep(0.02)

    with pytest.raises(TokenInvalidError):
        auth.authenticate(bearing(f"Bearer {token}"))


def test_a_valid_token_gives_its_caller(auth, callers):
    token, record = a_token(callers, user_id="ada")

    caller = auth.authenticate(bearing(f"Bearer {token}"))

    assert (caller.token_id, caller.user_id) == (record.token_id, "ada")


@pytest.mark.parametrize("header", [None, ""])
def test_without_a_header_the_callers_own_organisation_is_in_force(auth, header):
    assert auth.organisation_in_force(a_caller(acme=["ORG_OWNER"]), header).org_id == "acme"


@pytest.mark.parametrize("header", ["nowhere", "acme ", "x" * 9000, "a\x00b", "ACME"])
def test_an_unknown_organisation_is_refused(auth, header):
    with pytest.raises(OrganisationUnknownError):
        auth.organisation_in_force(a_caller(instance=["IAM_OWNER"]), header)


def test_a_known_organisation_without_membership_is_refused(auth):
    with pytest.raises(MembershipMissingError):
        auth.organisation_in_force(a_caller(acme=["ORG_OWNER"]), "beta")


def test_an_organisation_with_membership_is_in_force(auth):
    caller = a_caller(beta=["ORG_OWNER_VIEWER"])

    assert auth.organisation_in_force(caller, "beta").name == "Beta"


def test_an_instance_wide_role_is_a_membership_everywhere(auth):
    caller = a_caller(instance=["IAM_OWNER_VIEWER"])

    assert auth.organisation_in_force(caller, "beta").name == "Beta"


@pytest.mark.parametrize("role", WRITERS)
def test_a_writing_role_may_write_and_read(auth, role):
    caller = a_caller(acme=[role])

    auth.authorize_in(caller, "acme", "user.write")

    assert auth.may(caller, "acme", "user.read")


@pytest.mark.parametrize("role", READERS + NEITHER)
def test_every_other_role_may_not_write(auth, role):
    with pytest.raises(PermissionDeniedError):
        auth.authorize_in(a_caller(acme=[role]), "acme", "user.write")


@pytest.mark.parametrize("role", READERS)
def test_a_viewer_may_read(auth, role):
    assert auth.may(a_caller(acme=[role]), "acme", "user.read")


@pytest.mark.parametrize("role", NEITHER)
def test_a_role_without_permissions_may_not_read(auth, role):
    assert not auth.may(a_caller(acme=[role]), "acme", "user.read")


def test_a_role_in_one_organisation_is_none_in_another(auth):
    with pytest.raises(MembershipMissingError):
        auth.authorize_in(a_caller(acme=["ORG_OWNER"]), "beta", "user.write")


@pytest.mark.parametrize("role", WRITERS)
def test_an_instance_wide_writer_may_write_everywhere(auth, role):
    caller = a_caller(instance=[role])

    auth.authorize_in(caller, "beta", "user.write")

    assert auth.may(caller, "beta", "user.write")


def test_what_a_role_may_is_a_setting(callers):
    settings = load_settings({"KEYTURN_ROLE_PERMISSIONS": "HELPDESK=user.write"})
    auth = Authenticator(callers, settings)

    assert auth.may(a_caller(acme=["HELPDESK"]), "acme", "user.write")
    assert not auth.may(a_caller(acme=["ORG_OWNER"]), "acme", "user.write")


def test_a_caller_is_asked_for_once_while_cached(auth, callers, clock):
    token, _ = a_token(callers)
    first = auth.authenticate(bearing(f"Bearer {token}"))
    clock.seconds += CACHE_SECONDS - 0.01

    second = auth.authenticate(bearing(f"Bearer {token}"))

    assert second is first
    assert callers.asked == 1


def test_a_revocation_is_noticed_when_the_cache_ends(auth, callers, clock):
    token, record = a_token(callers)
    auth.authenticate(bearing(f"Bearer {token}"))
    callers.revoke_token(record.token_id)
    clock.seconds += CACHE_SECONDS

    with pytest.raises(TokenInvalidError):
        auth.authenticate(bearing(f"Bearer {token}"))


def test_a_revocation_is_noticed_at_once_after_forgetting(auth, callers):
    token, record = a_token(callers)
    auth.authenticate(bearing(f"Bearer {token}"))
    callers.revoke_token(record.token_id)

    auth.forget()

    with pytest.raises(TokenInvalidError):
        auth.authenticate(bearing(f"Bearer {token}"))


def test_a_cached_caller_ends_with_its_token(auth, callers, clock):
    token, _ = a_token(callers, lifetime_seconds=1)
    auth.authenticate(bearing(f"Bearer {token}"))
    clock.seconds += 1.01

    auth.authenticate(bearing(f"Bearer {token}"))

    assert callers.asked == 2


def test_a_wrong_token_is_asked_for_every_time(auth, callers):
    for _ in range(3):
        with pytest.raises(TokenInvalidError):
            auth.authenticate(bearing("Bearer kt_pat_" + "A" * 43))

    assert callers.asked == 3


def test_an_organisation_is_asked_for_once_while_cached(auth, callers, clock):
    caller = a_caller(acme=["ORG_OWNER"])
    auth.organisation_in_force(caller, None)

    auth.organisation_in_force(caller, "acme")
    assert callers.asked == 1

    clock.seconds += CACHE_SECONDS
    auth.organisation_in_force(caller, None)
    assert callers.asked == 2


def test_an_organisation_added_a_moment_ago_is_known_at_once(auth, callers):
    caller = a_caller(instance=["IAM_OWNER"])
    with pytest.raises(OrganisationUnknownError):
        auth.organisation_in_force(caller, "gamma")

    callers.save_organisation(Organisation("gamma", "Gamma"))

    assert auth.organisation_in_force(caller, "gamma").name == "Gamma"


def test_a_look_up_overtaken_by_forgetting_is_not_cached(callers, clock):
    class Overtaken(CountingCallers):
        def find_caller(self, token):
            caller = super().find_caller(token)
            auth.forget()
            return caller

    store = Overtaken(callers._client, callers._digests)
    auth = Authenticator(store, load_settings({}), clock=clock)
    token, _ = a_token(callers)

    auth.authenticate(bearing(f"Bearer {token}"))
    auth.authenticate(bearing(f"Bearer {token}"))

    assert store.asked == 2


def test_the_cache_is_bounded(auth, clock):
    cache = auth._caller_cache
    for number in range(CACHE_ENTRIES * 2 + 1):
        cache[str(number)] = (a_caller(), clock() + CACHE_SECONDS)

    assert len(cache) == CACHE_ENTRIES


def test_a_cached_authentication_costs_microseconds(callers):
    auth = Authenticator(callers, load_settings({}))
    credentials = bearing(f"Bearer {a_token(callers)[0]}")
    auth.authenticate(credentials)

    best = min(timed(lambda: auth.authenticate(credentials)) for _ in range(5))

    assert best < 50e-6  # a few µs on a machine at rest; the round trip it saves costs hundreds


def timed(call, times=500):
    started_at = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started_at) / times
