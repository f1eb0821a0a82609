from __future__ import annotations

import time

import pytest

from shared.models import Organisation
from tests.support.builders import a_token, a_user
from tests.support.wire import BARE, V1, Wire, problem

WRITERS = (
    "IAM_OWNER",
    "IAM_ORG_MANAGER",
    "IAM_USER_MANAGER",
    "IAM_LOGIN_CLIENT",
    "ORG_OWNER",
    "ORG_USER_MANAGER",
)
OTHERS = (
    "IAM_OWNER_VIEWER",
    "IAM_ADMIN_IMPERSONATOR",
    "IAM_END_USER_IMPERSONATOR",
    "ORG_OWNER_VIEWER",
    "ORG_SETTINGS_MANAGER",
    "ORG_PROJECT_CREATOR",
    "ORG_USER_PERMISSION_EDITOR",
    "ORG_ADMIN_IMPERSONATOR",
    "ORG_END_USER_IMPERSONATOR",
    "ORG_USER_SELF_MANAGER",
    "PROJECT_OWNER",
    "PROJECT_OWNER_VIEWER",
    "PROJECT_GRANT_OWNER",
    "SOMETHING_NEW",
)
MISSING = (401, 16, None)
INVALID = (401, 16, "AUTH-toLo1")
UNKNOWN = (401, 16, "AUTH-7fs1e")


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        pytest.param(None, MISSING, id="none"),
        pytest.param("", MISSING, id="empty"),
        pytest.param("Bearer", INVALID, id="no token"),
        pytest.param("Bearer ", INVALID, id="empty token"),
        pytest.param("bearer {token}", INVALID, id="lower case scheme"),
        pytest.param("BEARER {token}", INVALID, id="upper case scheme"),
        pytest.param("Bearer  {token}", INVALID, id="two blanks"),
        pytest.param("Bearer\t{token}", INVALID, id="tab"),
        pytest.param("Bearer {token} ", INVALID, id="blank behind"),
        pytest.param("Bearer {token} x", INVALID, id="word behind"),
        pytest.param("Bearer {token},{token}", UNKNOWN, id="two tokens in one"),
        pytest.param("Bearer {token}, Bearer {token}", INVALID, id="twice"),
        pytest.param("Basic YWRhOng=", INVALID, id="basic"),
        pytest.param("{token}", INVALID, id="token alone"),
        pytest.param("Bearer tökén", INVALID, id="not ASCII"),
        pytest.param("Bearer x", UNKNOWN, id="unknown"),
        pytest.param("Bearer {token}x", UNKNOWN, id="one sign too many"),
        pytest.param("Bearer kt_pat_" + "A" * 43, UNKNOWN, id="unknown of the right form"),
        pytest.param("Bearer " + "x" * 20_000, UNKNOWN, id="very long"),
    ],
)
@pytest.mark.parametrize("path", [V1, BARE], ids=["prefixed", "bare"])
def test_a_caller_is_refused_by_its_header(wire, path, authorization, expected):
    given = {} if authorization is None else authorization.replace("{token}", wire.token)
    headers = {"Authorization": given} if authorization is not None else {}

    response = wire.call(path.format("ada"), headers=headers)

    assert problem(response) == expected
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert wire.records() == []


def test_the_missing_header_is_told_in_zitadels_words(wire):
    body = wire.call(V1.format("ada")).get_json()

    assert body == {"code": 16, "message": "auth header missing"}


def test_an_expired_token_is_unknown(wire):
    token = a_token(wire.services, "ORG_OWNER", lifetime_seconds=0.02)
    time.sleep(0.04)

    assert problem(wire.reset(token=token)) == UNKNOWN


def test_a_revoked_token_is_unknown(wire):
    token = a_token(wire.services, "ORG_OWNER")
    token_id = wire.services.callers.find_caller(token).token_id
    wire.services.callers.revoke_token(token_id)

    assert problem(wire.reset(token=token)) == UNKNOWN


def test_a_token_revoked_after_a_call_records_nothing_more(wire):
    token = a_token(wire.services, "ORG_OWNER")
    assert wire.reset(token=token).status_code == 200
    wire.services.callers.revoke_token(wire.services.callers.find_caller(token).token_id)

    response = wire.reset(token=token)

    assert problem(response) == UNKNOWN
    assert len(wire.records()) == 1


@pytest.mark.parametrize("role", WRITERS)
def test_a_role_that_writes_may_reset(wire, role):
    assert wire.reset(token=a_token(wire.services, role)).status_code == 200


@pytest.mark.parametrize("role", OTHERS)
def test_any_other_role_may_not(wire, role):
    response = wire.reset(token=a_token(wire.services, role))

    assert problem(response) == (403, 7, "AUTH-5mWD2")
    assert wire.records() == []


def test_one_role_that_writes_is_enough(wire):
    token = a_token(wire.services, "ORG_OWNER_VIEWER", "ORG_USER_MANAGER")

    assert wire.reset(token=token).status_code == 200


def test_a_token_without_any_role_has_no_membership(wire):
    assert problem(wire.reset(token=a_token(wire.services))) == (404, 5, "AUTHZ-cdgFk")


ORGANISATION_HEADERS = [
    pytest.param("acme", "ada", (200,), id="own"),
    pytest.param("", "ada", (200,), id="empty means own"),
    pytest.param("beta", "bob", (404, 5, "AUTHZ-cdgFk"), id="no membership"),
    pytest.param("nowhere", "ada", (403, 7, "AUTH-Bs7Ds"), id="unknown"),
    pytest.param("ACME", "ada", (403, 7, "AUTH-Bs7Ds"), id="another case"),
    pytest.param("acme,beta", "ada", (403, 7, "AUTH-Bs7Ds"), id="two in one"),
    pytest.param("x" * 5000, "ada", (403, 7, "AUTH-Bs7Ds"), id="very long"),
    pytest.param("\xe4\xff", "ada", (403, 7, "AUTH-Bs7Ds"), id="not ASCII"),
]


@pytest.mark.parametrize(("header", "user_id", "expected"), ORGANISATION_HEADERS)
def test_the_organisation_header_decides(wire, header, user_id, expected):
    a_user(wire.services, "bob", orgId="beta")

    response = wire.reset(user_id, x_zitadel_orgid=header)

    assert outcome(response) == expected


def test_a_member_of_two_organisations_chooses_by_header(wire):
    a_user(wire.services, "bob", orgId="beta")
    token = a_token(wire.services, "ORG_OWNER", memberships={"beta": ("ORG_OWNER",)})

    assert wire.reset("bob", token=token, x_zitadel_orgid="beta").status_code == 200
    assert problem(wire.reset("bob", token=token)) == (400, 9, "COMMAND-Hj9ds")


def test_a_membership_that_may_only_read_there_is_refused_there(wire):
    token = a_token(wire.services, "ORG_OWNER", memberships={"beta": ("ORG_OWNER_VIEWER",)})

    response = wire.reset(token=token, x_zitadel_orgid="beta")

    assert problem(response) == (403, 7, "AUTH-5mWD2")


def test_an_instance_role_holds_in_every_organisation(wire):
    a_user(wire.services, "bob", orgId="beta")
    token = a_token(wire.services, instance=("IAM_USER_MANAGER",))

    assert wire.reset("ada", token=token).status_code == 200
    assert wire.reset("bob", token=token, x_zitadel_orgid="beta").status_code == 200


def test_an_instance_role_without_user_write_is_refused(wire):
    token = a_token(wire.services, instance=("IAM_OWNER_VIEWER",))

    response = wire.reset(token=token, x_zitadel_orgid="beta")

    assert problem(response) == (403, 7, "AUTH-5mWD2")


def test_what_a_role_may_is_a_setting(fake_client):
    wire = Wire(fake_client, role_permissions=(("HELPDESK", frozenset({"user.write"})),))

    assert wire.reset(token=a_token(wire.services, "HELPDESK")).status_code == 200
    assert problem(wire.reset()) == (403, 7, "AUTH-5mWD2")


class RestlessCallers:
    """Organisations change between reading the caller and recording, so many times."""

    def __init__(self, callers, times):
        self.callers, self.times = callers, times

    def __getattr__(self, name):
        return getattr(self.callers, name)

    def find_caller(self, token):
        found = self.callers.find_caller(token)
        if self.times:
            self.times -= 1
            self.callers.save_organisation(Organisation("acme", "Acme"))
        return found


@pytest.mark.parametrize(("times", "status"), [(1, 200), (5, 200), (1000, 503)])
def test_rights_that_change_under_a_request_are_read_again(fake_client, times, status):
    wire = Wire(fake_client)
    wire.app.extensions["keyturn"].auth._callers = RestlessCallers(wire.services.callers, times)

    response = wire.reset()

    assert response.status_code == status
    assert len(wire.records()) == (status == 200)


def outcome(response):
    return (200,) if response.status_code == 200 else problem(response)
