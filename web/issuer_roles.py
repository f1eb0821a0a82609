"""ZITADEL's role claims as memberships: `{role: {organisation: domain}}`.

Source: https://zitadel.com/docs/apis/openidoauth/claims
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ROLES_CLAIM = "urn:zitadel:iam:org:project:roles"
PROJECT_ROLES_CLAIM = "urn:zitadel:iam:org:project:{project}:roles"
OWN_ORGANISATION_CLAIM = "urn:zitadel:iam:user:resourceowner:id"
MAX_ID_CHARACTERS = 200


def org_roles(
    claims: Mapping[str, Any], *, project: str, known: Collection[str]
) -> dict[str, frozenset[str]]:
    """The roles held in each organisation, in the claim's order.

    Roles count in the organisations they name and nowhere else, IAM roles included. The claim of
    our own project (the audience) goes before the general one; those of other projects say nothing
    here, for whoever owns a project names its roles. Roles we do not know are left out.
    """
    claim = PROJECT_ROLES_CLAIM.format(project=project)
    told = claims[claim] if claim in claims else claims.get(ROLES_CLAIM)
    held: dict[str, frozenset[str]] = {}
    for role, organisations in told.items() if isinstance(told, dict) else ():
        if role in known and isinstance(organisations, dict):
            for org_id in filter(_is_id, organisations):
                held[org_id] = held.get(org_id, frozenset()) | {role}
    return held


def own_organisation(claims: Mapping[str, Any], roles: Mapping[str, frozenset[str]]) -> str:
    """The caller's own organisation; without a word of it, the first of its roles."""
    told = claims.get(OWN_ORGANISATION_CLAIM)
    return told if isinstance(told, str) and _is_id(told) else next(iter(roles), "")


def _is_id(text: str) -> bool:
    return 1 <= len(text) <= MAX_ID_CHARACTERS and text.isprintable()
