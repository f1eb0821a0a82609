"""Who is the caller, and may they: the rules of SPEC.md 3, cached for a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

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

if TYPE_CHECKING:
    from web.services import WebServices
from collections.abc import Iterable

from shared.errors import NotFoundError
from shared.models import Reset
from shared.store.batches import Batch

CACHE_SECONDS = 2.0  # how late a revocation may be noticed where no record is written
CACHE_ENTRIES = 4096
ORG_ID_CHARACTERS = 200
MAX_READINGS = 10  # of a caller, while others' rights change under its request

_BEARER = re.compile(r"Bearer ([\x21-\x7e]+)")

Clock: TypeAlias = Callable[[], float]
ValueT = TypeVar("ValueT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks, as the wire said it."""

    authorization: str | None = field(repr=False)
    org_id: str | None


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
        for _ in range(MAX_READINGS):
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


SYSTEM_READ, SYSTEM_WRITE = "system.read", "system.write"
USER_READ, USER_WRITE = "user.read", "user.write"


def authenticate(services: WebServices, credentials: Credentials) -> Caller:
    """The caller; an organisation header is checked when present, and plays no other part.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = services.auth.authenticate(credentials.authorization)
    if credentials.org_id:
        services.auth.organisation_in_force(caller, credentials.org_id)
    return caller


def require_everywhere(services: WebServices, caller: Caller, permission: str) -> None:
    """Nothing, when the caller may do this to the whole installation.

    Raises:
        PermissionDeniedError: no role that it holds in every organisation allows it.
    """
    if not services.auth.may_everywhere(caller, permission):
        raise PermissionDeniedError


def require_in(services: WebServices, caller: Caller, org_id: str) -> None:
    """Nothing, when the caller may pull the levers of an organisation.

    Raises:
        MembershipMissingError, PermissionDeniedError.
    """
    if not services.auth.may_everywhere(caller, SYSTEM_WRITE):
        services.auth.require(caller, org_id, USER_WRITE)


def require_reset(services: WebServices, caller: Caller, reset_id: str) -> Reset:
    """The reset, when the caller may write to users of its organisation.

    Raises:
        NotFoundError: none, or not theirs to see. PermissionDeniedError: only to see.
    """
    reset = services.resets.find(reset_id)
    if reset is None or not services.auth.may(caller, reset.org_id, USER_READ):
        raise NotFoundError
    if not services.auth.may(caller, reset.org_id, USER_WRITE):
        raise PermissionDeniedError
    return reset


def require_user(services: WebServices, caller: Caller, user_id: str) -> None:
    """Nothing, when the caller may pull the levers of the organisation a user belongs to.

    Raises:
        NotFoundError: no such user, or not theirs to see. PermissionDeniedError: only to see.
    """
    user = services.directory.find_user(user_id)
    if user is None:
        raise NotFoundError
    try:
        require_in(services, caller, user.org_id)
    except (MembershipMissingError, PermissionDeniedError) as error:
        if services.auth.may(caller, user.org_id, USER_READ):
            raise PermissionDeniedError from error
        raise NotFoundError from error


def by_token(caller: Caller) -> str:
    """How the audit trail names a caller."""
    return f"token {caller.token_id}"


@dataclass(frozen=True, slots=True)
class Authority:
    """In whose name a batch is made or changed."""

    by: str  # as the audit trail names it
    caller_id: str  # "" for whoever sits at this machine
    org_ids: frozenset[str] | None  # whose users may be written to; None: everybody's


def at_this_machine(by: str) -> Authority:
    """Of an operator with a shell."""
    return Authority(by, "", None)


def authority_of(services: WebServices, credentials: Credentials) -> Authority:
    """Of a caller with `user.write` in the organisation in force.

    Raises:
        CallerError: the caller is not known, or may not.
    """
    caller = services.auth.authenticate(credentials.authorization)
    organisation = services.auth.organisation_in_force(caller, credentials.org_id)
    services.auth.require(caller, organisation.org_id, USER_WRITE)
    return Authority(f"token {caller.token_id}", caller.token_id, _org_ids(services, caller))


def require_organisation(services: WebServices, credentials: Credentials, org_id: str) -> None:
    """Nothing, when the caller may write to the users of an organisation.

    Raises:
        OrganisationUnknownError, MembershipMissingError, PermissionDeniedError.
    """
    caller = services.auth.authenticate(credentials.authorization)
    services.auth.organisation_in_force(caller, org_id)
    services.auth.require(caller, org_id, USER_WRITE)


def find_theirs(services: WebServices, authority: Authority, batch_id: str) -> Batch:
    """The batch, for whoever made it and for whoever may write to all whom it may write to.

    Raises:
        NotFoundError: there is none by that id, or it is not theirs to see.
    """
    batch = services.batches.find(batch_id)
    if batch is None or not _may_see(authority, batch):
        raise NotFoundError
    return batch


def _may_see(authority: Authority, batch: Batch) -> bool:
    if authority.org_ids is None or (
        authority.caller_id and authority.caller_id == batch.caller_id
    ):
        return True
    return batch.org_ids is not None and batch.org_ids <= authority.org_ids


def _org_ids(services: WebServices, caller: Caller) -> frozenset[str] | None:
    if services.auth.may_everywhere(caller, USER_WRITE):
        return None
    return frozenset(o for o in caller.org_roles if services.auth.may(caller, o, USER_WRITE))


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
