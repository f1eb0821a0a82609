"""The roles a caller may hold, by ZITADEL's names; what each may is a setting."""

from __future__ import annotations

from collections.abc import Iterable

from shared.settings import Settings

ROLES = {
    "IAM_OWNER": "everything, in every organisation",
    "IAM_OWNER_VIEWER": "sees everything, in every organisation",
    "IAM_ORG_MANAGER": "manages organisations and their users",
    "IAM_USER_MANAGER": "manages the users of every organisation",
    "IAM_ADMIN_IMPERSONATOR": "acts for administrators and users of every organisation",
    "IAM_END_USER_IMPERSONATOR": "acts for the users of every organisation",
    "IAM_LOGIN_CLIENT": "the sign-in pages themselves",
    "ORG_OWNER": "everything in one organisation",
    "ORG_USER_MANAGER": "manages the users of one organisation",
    "ORG_OWNER_VIEWER": "sees everything in one organisation",
    "ORG_USER_PERMISSION_EDITOR": "grants users of one organisation their permissions",
    "ORG_PROJECT_PERMISSION_EDITOR": "grants projects of one organisation to others",
    "ORG_PROJECT_CREATOR": "makes projects in one organisation",
    "ORG_PROJECT_USER_GRANT_EDITOR": "grants users the projects of one organisation",
    "ORG_SETTINGS_MANAGER": "changes the settings of one organisation",
    "ORG_ADMIN_IMPERSONATOR": "acts for administrators and users of one organisation",
    "ORG_END_USER_IMPERSONATOR": "acts for the users of one organisation",
    "ORG_USER_SELF_MANAGER": "changes what is its own",
    "PROJECT_OWNER": "everything in one project",
    "PROJECT_OWNER_VIEWER": "sees everything in one project",
    "PROJECT_OWNER_GLOBAL": "everything in a project that all share",
    "PROJECT_OWNER_VIEWER_GLOBAL": "sees everything in a project that all share",
    "PROJECT_GRANT_OWNER": "manages a project granted to its organisation",
    "PROJECT_GRANT_OWNER_VIEWER": "sees a project granted to its organisation",
}


def unknown_roles(names: Iterable[str], settings: Settings) -> list[str]:
    """Those of `names` that are neither ZITADEL's nor named in the role_permissions setting."""
    named_in_settings = {role for role, _ in settings.role_permissions}
    return sorted(set(names) - ROLES.keys() - named_in_settings)
