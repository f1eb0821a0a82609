"""Callers, their tokens, and the organisations they act in."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from shared.errors import OrganisationUnknownError
from shared.models import Caller, Organisation
from shared.store import keys
from shared.store.caller_records import (
    Grants,
    Token,
    caller_from_reply,
    grants_as_hash,
    moment,
    organisation_as_hash,
    organisation_from_hash,
    token_from_hash,
)
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests

TOKEN_BYTES = 32
TOKEN_CHARACTERS = len(keys.TOKEN_PREFIX) + 43  # 32 bytes in base64 without padding
TOKEN_ID_BYTES = 6
USE_NOTED_EVERY_MS = 60_000

_FIND_CALLER = (Path(__file__).parent / "lua" / "find_caller.lua").read_text()


class CallerStore:
    """Who may call. Every method may raise StoreUnavailableError.

    Each change counts keys.VERSION up *after* it was made, and `find_caller` reads the version
    *before* the token: whoever holds a caller of the present version holds the present caller.
    """

    def __init__(self, client: Client, digests: Digests) -> None:
        """Tokens are stored under their digest alone."""
        self._client = client
        self._digests = digests

    def find_caller(self, token: str) -> Caller | None:
        """The caller of a token; None when it is unknown, expired or revoked. One round trip."""
        if len(token) != TOKEN_CHARACTERS or not token.startswith(keys.TOKEN_PREFIX):
            return None
        key = keys.token(self._digests.token_digest(token))
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.get(keys.VERSION)
            pipe.eval(_FIND_CALLER, 1, key, str(USE_NOTED_EVERY_MS))
            version, reply = pipe.execute()
        return caller_from_reply(reply, version=int(version or 0)) if reply else None

    def caller_version(self) -> int:
        """How often a token, an organisation or a membership has changed."""
        with store_errors():
            return int(cast("str | None", self._client.get(keys.VERSION)) or 0)

    def now(self) -> datetime:
        """The moment by the store's clock, in whole milliseconds."""
        return moment(str(self._now_ms()))

    def create_token(
        self,
        org_id: str,
        grants: Grants,
        *,
        user_id: str | None = None,
        lifetime_seconds: float | None = None,
    ) -> tuple[str, Token]:
        """A new token and its record. The token is not stored: this is the only time it is seen.

        Raises:
            OrganisationUnknownError: the caller's, or one of the memberships', does not exist.
        """
        self._refuse_unknown_organisations({org_id, *grants.org_roles})
        token = keys.TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now_ms = self._now_ms()
        facts = {
            "id": secrets.token_hex(TOKEN_ID_BYTES),
            "org": org_id,
            "user": user_id or "",
            "created": str(now_ms),
            "expires": str(now_ms + int(lifetime_seconds * 1000)) if lifetime_seconds else "",
        } | grants_as_hash(grants)
        self._save_token(self._digests.token_digest(token), facts)
        return token, token_from_hash(facts)

    def list_tokens(self) -> list[Token]:
        """Every token that was made, the oldest first."""
        with store_errors():
            digests = cast("list[str]", self._client.hvals(keys.TOKENS))
            found = self._load_hashes(keys.token(digest) for digest in digests)
        return sorted(map(token_from_hash, filter(None, found)), key=lambda each: each.created_at)

    def revoke_token(self, token_id: str) -> bool:
        """Make a token useless from now on; False when there is none by that id."""
        with store_errors():
            digest = cast("str | None", self._client.hget(keys.TOKENS, token_id))
            if digest is None:
                return False
            self._client.hsetnx(keys.token(digest), "revoked", str(self._now_ms()))
            self._client.incr(keys.VERSION)
        return True

    def save_organisation(self, organisation: Organisation) -> None:
        """Add an organisation, or replace what is known of it."""
        key = keys.organisation(organisation.org_id)
        with store_errors():
            self._client.hset(key, mapping=dict[Any, Any](organisation_as_hash(organisation)))
            self._client.sadd(keys.ORGANISATIONS, organisation.org_id)
            self._client.incr(keys.VERSION)

    def find_organisation(self, org_id: str) -> Organisation | None:
        """The organisation, or None when it does not exist."""
        with store_errors():
            facts = cast("dict[str, str]", self._client.hgetall(keys.organisation(org_id)))
        return organisation_from_hash(org_id, facts) if facts else None

    def organisation_exists(self, org_id: str) -> bool:
        """True when there is such an organisation."""
        with store_errors():
            return bool(self._client.exists(keys.organisation(org_id)))

    def list_organisations(self) -> list[Organisation]:
        """All organisations, by id."""
        with store_errors():
            org_ids = sorted(cast("set[str]", self._client.smembers(keys.ORGANISATIONS)))
            found = self._load_hashes(keys.organisation(org_id) for org_id in org_ids)
        pairs = zip(org_ids, found, strict=True)
        return [organisation_from_hash(org_id, facts) for org_id, facts in pairs if facts]

    def _refuse_unknown_organisations(self, org_ids: Iterable[str]) -> None:
        for org_id in sorted(org_ids):
            if not self.organisation_exists(org_id):
                raise OrganisationUnknownError(f"Organisation {org_id} doesn't exist")

    def _save_token(self, token_digest: str, facts: dict[str, str]) -> None:
        with store_errors():
            self._client.hset(keys.token(token_digest), mapping=dict[Any, Any](facts))
            self._client.hset(keys.TOKENS, facts["id"], token_digest)
            self._client.incr(keys.VERSION)

    def _load_hashes(self, names: Iterable[str]) -> list[dict[str, str]]:
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(name)
        return cast("list[dict[str, str]]", pipe.execute())

    def _now_ms(self) -> int:
        with store_errors():
            seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)
