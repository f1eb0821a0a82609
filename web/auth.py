"""Who is the caller, and may they: the rules of SPEC.md 3, cached for a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from shared.errors import (
    AuthHeaderInvalidError,
    AuthHeaderMissingError,
    MembershipMissingError,
    OrganisationUnknownError,
    PermissionDeniedError,
    StoreUnavailableError,
    TokenInvalidError,
)
from shared.models import Caller, Organisation
from shared.settings import Settings
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from shared.store.limits import CallerChangedError
from web.oidc import Issuer, looks_signed

CACHE_SECONDS = 2.0  # how late a revocation may be noticed where no record is written
CACHE_ENTRIES = 4096
ORG_ID_CHARACTERS = 200
MOST_READINGS = 10  # of a caller, while others' rights change under its request

_BEARER = re.compile(r"Bearer ([\x21-\x7e]+)")

Clock: TypeAlias = Callable[[], float]
ValueT = TypeVar("ValueT")
ResultT = TypeVar("ResultT")


class _Cache(Generic[ValueT]):
    """Values with the moment they go stale. Safe for threads: each step is one dict operation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[float, ValueT]] = {}

    def find(self, key: str) -> ValueT | None:
        entry = self._entries.get(key)
        return entry[1] if entry and entry[0] > self._clock() else None

    def keep(self, key: str, value: ValueT, *, seconds: float, read_at: float) -> None:
        if len(self._entries) >= CACHE_ENTRIES:
            self._entries.clear()
        self._entries[key] = (read_at + seconds, value)


class Authenticator:
    """Knows callers by their tokens. What is wrong is never cached; what is right, 2 seconds."""

    def __init__(
        self,
        callers: CallerStore,
        settings: Settings,
        *,
        issuer: Issuer | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """`issuer` knows callers by signed tokens; `clock` counts seconds and never goes back."""
        self._callers = callers
        self._issuer = issuer
        self._permissions = dict(settings.role_permissions)
        self._clock = clock
        self.forget()

    def authenticate(self, authorization_header: str | None) -> Caller:
        """The caller of a request.

        Raises:
            AuthHeaderMissingError: there is no header.
            AuthHeaderInvalidError: it is not exactly `Bearer <token>`.
            TokenInvalidError: the token is unknown, expired or revoked.
            IssuerUnavailableError: it is an identity provider's, which does not answer.
        """
        if not authorization_header:
            raise AuthHeaderMissingError
        match = _BEARER.fullmatch(authorization_header)
        if match is None:
            raise AuthHeaderInvalidError
        token = match[1]
        return self._cached_callers.find(Digests.token_digest(token)) or self._read_caller(token)

    def organisation_in_force(self, caller: Caller, header: str | None) -> Organisation:
        """The organisation a request is about: the header's, or the caller's own without one.

        Raises:
            OrganisationUnknownError: there is no such organisation.
            MembershipMissingError: the header names one in which the caller holds no role.
        """
        if not header:
            return self._find_organisation(caller.org_id)
        organisation = self._find_organisation(header)
        if not caller.roles_in(organisation.org_id):
            raise MembershipMissingError
        return organisation

    def require(self, caller: Caller, org_id: str, permission: str) -> None:
        """Nothing, when the caller may do this in that organisation.

        Raises:
            MembershipMissingError: the caller holds no role there.
            PermissionDeniedError: none of its roles there has the permission.
        """
        if not caller.roles_in(org_id):
            raise MembershipMissingError
        if not self.may(caller, org_id, permission):
            raise PermissionDeniedError

    def may(self, caller: Caller, org_id: str, permission: str) -> bool:
        """True when a role the caller holds in that organisation has the permission."""
        roles = caller.roles_in(org_id)
        return any(permission in self._permissions.get(role, ()) for role in roles)

    def may_everywhere(self, caller: Caller, permission: str) -> bool:
        """True when a role the caller holds in every organisation has the permission."""
        held = caller.instance_roles
        return any(permission in self._permissions.get(role, ()) for role in held)

    def with_present_rights(self, ask: Callable[[], ResultT]) -> ResultT:
        """What `ask` gives; asked again when callers or organisations changed meanwhile.

        Raises:
            StoreUnavailableError: they never stopped changing.
        """
        for _ in range(MOST_READINGS):
            try:
                return ask()
            except CallerChangedError:
                self.forget()
        raise StoreUnavailableError

    def forget(self) -> None:
        """Drop what is cached: the store says that callers or organisations have changed.

        A look-up under way keeps its result in the old cache, which nobody reads any more.
        """
        self._cached_callers: _Cache[Caller] = _Cache(self._clock)
        self._cached_organisations: _Cache[Organisation] = _Cache(self._clock)

    def _read_caller(self, token: str) -> Caller:
        cache, read_at = self._cached_callers, self._clock()
        source = self._issuer if self._issuer and looks_signed(token) else self._callers
        caller = source.find_caller(token)
        if caller is None:
            raise TokenInvalidError
        seconds = CACHE_SECONDS
        if caller.seconds_left is not None:
            seconds = min(seconds, caller.seconds_left)
        cache.keep(Digests.token_digest(token), caller, seconds=seconds, read_at=read_at)
        return caller

    def _find_organisation(self, org_id: str) -> Organisation:
        if len(org_id) > ORG_ID_CHARACTERS:
            raise OrganisationUnknownError
        return self._cached_organisations.find(org_id) or self._read_organisation(org_id)

    def _read_organisation(self, org_id: str) -> Organisation:
        cache, read_at = self._cached_organisations, self._clock()
        organisation = self._callers.find_organisation(org_id)
        if organisation is None:
            raise OrganisationUnknownError
        cache.keep(org_id, organisation, seconds=CACHE_SECONDS, read_at=read_at)
        return organisation
