from __future__ import annotations

from shared.settings import load_settings
from web.auth import ROLES, unknown_roles


def test_every_role_with_a_permission_by_default_is_known():
    assert {role for role, _ in load_settings({}).role_permissions} <= ROLES.keys()


def test_a_role_nobody_named_is_unknown():
    assert unknown_roles(["ORG_OWNER", "PIGEON", "", "IAM_OWNER"], load_settings({})) == [
        "",
        "PIGEON",
    ]


def test_a_role_named_in_the_setting_is_known():
    settings = load_settings({"KEYTURN_ROLE_PERMISSIONS": "HELPDESK=user.read"})

    assert unknown_roles(["HELPDESK", "ORG_OWNER"], settings) == []


def test_what_a_role_is_for_is_one_line():
    assert all(meaning and meaning.isprintable() for meaning in ROLES.values())
