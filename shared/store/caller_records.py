"""Tokens and organisations as hashes, there and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.models import Caller, Organisation


@dataclass(frozen=True, slots=True)
class Grants:
    """The roles a token holds: in every organisation, and in single ones."""

    instance_roles: frozenset[str] = frozenset()
    org_roles: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[str]:
        """Every role that is named anywhere."""
        return self.instance_roles.union(*self.org_roles.values())


@dataclass(frozen=True, slots=True)
class Token:
    """A token as operators see it: everything but the token."""

    token_id: str
    org_id: str
    user_id: str | None
    grants: Grants
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, now: datetime) -> str:
        """`revoked`, `expired` or `valid`."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "valid"


def grants_as_hash(grants: Grants) -> dict[str, str]:
    """The fields `instance` and `orgs` of a token."""
    orgs = {org_id: sorted(roles) for org_id, roles in grants.org_roles.items()}
    return {"instance": json.dumps(sorted(grants.instance_roles)), "orgs": json.dumps(orgs)}


def token_from_hash(facts: Mapping[str, str]) -> Token:
    """A token's record as it was stored."""
    return Token(
        token_id=facts["id"],
        org_id=facts["org"],
        user_id=facts.get("user") or None,
        grants=Grants(_roles(facts["instance"]), _org_roles(facts["orgs"])),
        created_at=moment(facts["created"]),
        expires_at=_moment_or_none(facts, "expires"),
        revoked_at=_moment_or_none(facts, "revoked"),
        last_used_at=_moment_or_none(facts, "used"),
    )


def caller_from_reply(reply: Iterable[str], *, version: int) -> Caller:
    """What find_caller.lua gives, as a Caller."""
    token_id, org_id, user_id, instance, orgs, left_ms = reply
    return Caller(
        token_id=token_id,
        org_id=org_id,
        user_id=user_id or None,
        instance_roles=_roles(instance),
        org_roles=_org_roles(orgs),
        version=version,
        seconds_left=int(left_ms) / 1000 if left_ms else None,
    )


def organisation_as_hash(organisation: Organisation) -> dict[str, str]:
    """An organisation's fields."""
    return {
        "name": organisation.name,
        "language": organisation.language or "",
        "hosts": " ".join(organisation.link_hosts),
    }


def organisation_from_hash(org_id: str, facts: Mapping[str, str]) -> Organisation:
    """An organisation as it was stored."""
    return Organisation(
        org_id=org_id,
        name=facts["name"],
        language=facts.get("language") or None,
        link_hosts=tuple(facts.get("hosts", "").split()),
    )


def moment(milliseconds: str) -> datetime:
    """A moment as it is stored."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _moment_or_none(facts: Mapping[str, str], name: str) -> datetime | None:
    return moment(facts[name]) if facts.get(name) else None


def _roles(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _org_roles(text: str) -> dict[str, frozenset[str]]:
    return {org_id: frozenset(roles) for org_id, roles in json.loads(text).items()}
