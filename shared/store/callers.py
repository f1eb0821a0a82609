"""Store callers, their tokens, and the organisations they act in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from shared.errors import OrganisationUnknownError
from shared.models import Caller, Organisation
from shared.organisations.sender import parse_sender
from shared.store import keys
from shared.store.connection import Client, store_errors, time_ms
from shared.store.digests import Digests


@dataclass(frozen=True, slots=True)
class Grants:
    """The roles a token holds: in every organisation, and in single ones."""

    instance_roles: frozenset[str] = frozenset()
    org_roles: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[str]:
        """Return all roles, of every organisation."""
        return self.instance_roles.union(*self.org_roles.values())


@dataclass(frozen=True, slots=True)
class Token:
    """What is stored of a token; the token itself is not."""

    token_id: str
    org_id: str
    user_id: str | None
    grants: Grants
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, now: datetime) -> str:
        """Return `revoked`, `expired` or `valid`."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "valid"


def grants_as_hash(grants: Grants) -> dict[str, str]:
    """Return the fields `instance` and `orgs` of a token."""
    orgs = {org_id: sorted(roles) for org_id, roles in grants.org_roles.items()}
    return {"instance": json.dumps(sorted(grants.instance_roles)), "orgs": json.dumps(orgs)}


def token_from_hash(fields: Mapping[str, str]) -> Token:
    """Return the token of a stored hash."""
    return Token(
        token_id=fields["id"],
        org_id=fields["org"],
        user_id=fields.get("user") or None,
        grants=Grants(_roles(fields["instance"]), _org_roles(fields["orgs"])),
        created_at=moment(fields["created"]),
        expires_at=_moment_or_none(fields, "expires"),
        revoked_at=_moment_or_none(fields, "revoked"),
        last_used_at=_moment_or_none(fields, "used"),
    )


def caller_from_reply(reply: Iterable[str], *, version: int) -> Caller:
    """Return the Caller of what find_caller.lua returned."""
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
    """Return an organisation's fields."""
    needs = organisation.password_needs
    return {
        "name": organisation.name,
        "language": organisation.language or "",
        "languages": " ".join(organisation.languages),
        "hosts": " ".join(organisation.link_hosts),
        "passwordMin": str(organisation.password_min_characters or ""),
        "passwordNeeds": "-" if needs is None else " ".join(needs),
        "keepRecords": str(organisation.record_lifetime_seconds or ""),
        "keepRefusals": str(organisation.refusal_lifetime_seconds or ""),
    }


def organisation_from_hash(org_id: str, fields: Mapping[str, str]) -> Organisation:
    """Return the organisation of a stored hash."""
    needs = fields.get("passwordNeeds", "-")
    return Organisation(
        org_id=org_id,
        name=fields["name"],
        language=fields.get("language") or None,
        link_hosts=tuple(fields.get("hosts", "").split()),
        languages=tuple(fields.get("languages", "").split()),
        password_min_characters=int(fields.get("passwordMin") or 0) or None,
        password_needs=None if needs == "-" else tuple(needs.split()),
        sender=parse_sender(fields["sender"]) if "sender" in fields else None,
        record_lifetime_seconds=float(fields.get("keepRecords") or 0) or None,
        refusal_lifetime_seconds=float(fields.get("keepRefusals") or 0) or None,
    )


def moment(milliseconds: str) -> datetime:
    """Return the moment of stored milliseconds."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _moment_or_none(fields: Mapping[str, str], name: str) -> datetime | None:
    return moment(fields[name]) if fields.get(name) else None


def _roles(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _org_roles(text: str) -> dict[str, frozenset[str]]:
    return {org_id: frozenset(roles) for org_id, roles in json.loads(text).items()}


TOKEN_BYTES = 32
TOKEN_CHARACTERS = len(keys.TOKEN_PREFIX) + 43  # 32 bytes in base64 without padding
TOKEN_ID_BYTES = 6
USE_NOTED_EVERY_MS = 60_000

_FIND_CALLER = (Path(__file__).parent / "lua" / "find_caller.lua").read_text()


class CallerStore:
    """Read and change callers. Every method may raise StoreUnavailableError.

    Each change increments keys.VERSION *after* it was made, and `find_caller` reads the version
    *before* the token: a cached caller is current if its version is.
    """

    def __init__(self, client: Client, digests: Digests) -> None:
        """Build the store. Tokens are stored under their digest alone."""
        self._client = client
        self._digests = digests

    def find_caller(self, token: str) -> Caller | None:
        """Return a token's caller; None if it is unknown, expired or revoked. One round trip."""
        if len(token) != TOKEN_CHARACTERS or not token.startswith(keys.TOKEN_PREFIX):
            return None
        self._digests.check()
        key = keys.token(self._digests.token_digest(token))
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.get(keys.VERSION)
            pipe.eval(_FIND_CALLER, 1, key, str(USE_NOTED_EVERY_MS))
            version, reply = pipe.execute()
        if not reply:
            self._digests.verify()  # no token is known to a store that lost its data
        return caller_from_reply(reply, version=int(version or 0)) if reply else None

    def now(self) -> datetime:
        """Return the time by Redis's clock, in whole milliseconds."""
        return moment(str(time_ms(self._client)))

    def create_token(
        self,
        org_id: str,
        grants: Grants,
        *,
        user_id: str | None = None,
        lifetime_seconds: float | None = None,
    ) -> tuple[str, Token]:
        """Create a token; return it and its record. The token itself is not stored.

        Raises:
            OrganisationUnknownError: an organisation of the caller or a membership does not exist.
        """
        self._refuse_unknown_organisations({org_id, *grants.org_roles})
        token = keys.TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now_ms = time_ms(self._client)
        fields = {
            "id": secrets.token_hex(TOKEN_ID_BYTES),
            "org": org_id,
            "user": user_id or "",
            "created": str(now_ms),
            "expires": str(now_ms + int(lifetime_seconds * 1000)) if lifetime_seconds else "",
        } | grants_as_hash(grants)
        self._save_token(self._digests.token_digest(token), fields)
        return token, token_from_hash(fields)

    def add_link(self, token: str, *, seconds: int) -> str:
        """Return a secret that stands for a token, once and for so long."""
        secret = secrets.token_urlsafe(TOKEN_BYTES)
        key = keys.console_link(self._digests.token_digest(secret))
        with store_errors():
            self._client.set(key, self._digests.seal("console link", token), ex=seconds)
        return secret

    def use_link(self, secret: str) -> str | None:
        """Return the token of a secret and forget it; None if there is none any more."""
        with store_errors():
            sealed = self._client.getdel(keys.console_link(self._digests.token_digest(secret)))
        return self._digests.unseal("console link", str(sealed)) if sealed else None

    def list_tokens(self) -> list[Token]:
        """Return all tokens, oldest first."""
        with store_errors():
            digests = cast("list[str]", self._client.hvals(keys.TOKENS))
            found = self._load_hashes(keys.token(digest) for digest in digests)
        return sorted(map(token_from_hash, filter(None, found)), key=lambda each: each.created_at)

    def revoke_token(self, token_id: str) -> bool:
        """Revoke a token; return False if the id is unknown."""
        with store_errors():
            digest = cast("str | None", self._client.hget(keys.TOKENS, token_id))
            if digest is None:
                return False
            self._client.hsetnx(keys.token(digest), "revoked", str(time_ms(self._client)))
            self._client.incr(keys.VERSION)
        return True

    def save_organisation(self, organisation: Organisation) -> None:
        """Add an organisation, or replace it."""
        key = keys.organisation(organisation.org_id)
        self._digests.check()
        with store_errors():
            fields = organisation_as_hash(organisation)
            if not self._client.exists(key):
                fields["members"] = "1"  # the directory lists its users: keys.members
            self._client.hset(key, mapping=dict[Any, Any](fields))
            self._client.hincrby(key, "version", 1)  # of the branding, which holds the name
            self._client.sadd(keys.ORGANISATIONS, organisation.org_id)
            self._client.incr(keys.VERSION)

    def remove_organisation(self, org_id: str) -> None:
        """Remove an organisation, what it looks like and how it sends; none is no error."""
        with store_errors():
            # One slot: branding and texts must not come back with a new organisation of this id.
            own = keys.organisation(org_id), keys.profile(org_id), keys.text_history(org_id)
            self._client.delete(*own)
            self._client.srem(keys.ORGANISATIONS, org_id)
            self._client.srem(keys.SENDERS, org_id)
            self._client.incr(keys.VERSION)

    def remove_tokens(self, *, user_id: str | None = None, org_id: str | None = None) -> int:
        """Remove the tokens of a user, or those of an organisation; return how many."""
        found = [
            each
            for each in self.list_tokens()
            if org_id == each.org_id or (user_id is not None and user_id == each.user_id)
        ]
        for each in found:
            with store_errors():
                digest = cast("str | None", self._client.hget(keys.TOKENS, each.token_id))
                self._client.delete(keys.token(digest or ""))
                self._client.hdel(keys.TOKENS, each.token_id)
                self._client.incr(keys.VERSION)
        return len(found)

    def find_organisation(self, org_id: str) -> Organisation | None:
        """Return the organisation, or None if it does not exist."""
        with store_errors():
            fields = cast("dict[str, str]", self._client.hgetall(keys.organisation(org_id)))
        return organisation_from_hash(org_id, fields) if fields else None

    def organisation_exists(self, org_id: str) -> bool:
        """Return True if the organisation exists."""
        with store_errors():
            return bool(self._client.exists(keys.organisation(org_id)))

    def list_organisations(self) -> list[Organisation]:
        """Return all organisations, by id."""
        with store_errors():
            org_ids = sorted(cast("set[str]", self._client.smembers(keys.ORGANISATIONS)))
            found = self._load_hashes(keys.organisation(org_id) for org_id in org_ids)
        pairs = zip(org_ids, found, strict=True)
        return [organisation_from_hash(org_id, fields) for org_id, fields in pairs if fields]

    def _refuse_unknown_organisations(self, org_ids: Iterable[str]) -> None:
        for org_id in sorted(org_ids):
            if not self.organisation_exists(org_id):
                raise OrganisationUnknownError(f"Organisation {org_id} doesn't exist")

    def _save_token(self, token_digest: str, fields: dict[str, str]) -> None:
        self._digests.check()  # a store with callers has a digest key
        with store_errors():
            self._client.hset(keys.token(token_digest), mapping=dict[Any, Any](fields))
            self._client.hset(keys.TOKENS, fields["id"], token_digest)
            self._client.incr(keys.VERSION)

    def _load_hashes(self, names: Iterable[str]) -> list[dict[str, str]]:
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(name)
        return cast("list[dict[str, str]]", pipe.execute())
