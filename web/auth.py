"""Know callers by their tokens, and make every permission check."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from cachetools import TLRUCache, cachedmethod

from shared.errors import (
    AuthHeaderInvalidError,
    AuthHeaderMissingError,
    MembershipMissingError,
    NotFoundError,
    OrganisationUnknownError,
    PermissionDeniedError,
    StoreUnavailableError,
    TokenInvalidError,
    UserHiddenError,
    UserPermissionError,
)
from shared.models import Caller, Organisation, Reset, User
from shared.organisations.profile import Profile
from shared.recording import call_limits
from shared.settings import Settings
from shared.store import keys
from shared.store.batches import Batch
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from shared.store.limits import CallerChangedError, Limit, LimitStore
from shared.tracing import bind_context

if TYPE_CHECKING:
    from web.oidc import Issuer  # with PyJWT: 60 ms, where an issuer is set

USER_READ, USER_WRITE, USER_DELETE = "user.read", "user.write", "user.delete"
ORG_READ, ORG_WRITE = "org.read", "org.write"
SYSTEM_READ, SYSTEM_WRITE = "system.read", "system.write"

CACHE_SECONDS = 2.0  # how late a revocation may be noticed where no record is written
CACHE_ENTRIES = 4096
ORG_ID_CHARACTERS = 200
MAX_TRIES = 10  # of a use case, while rights change under its request

# ZITADEL's names; what each may do is a setting.
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

_BEARER = re.compile(r"Bearer ([\x21-\x7e]+)")

Clock: TypeAlias = Callable[[], float]
ValueT = TypeVar("ValueT")
_Lasting: TypeAlias = tuple[ValueT, float]  # a value, and when it is to be read again


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of its caller."""

    authorization: str | None = field(repr=False)
    org_id: str | None  # the organisation header


@dataclass(frozen=True, slots=True)
class Authority:
    """In whose name batches are made, read and changed."""

    by: str  # as the audit trail names it
    caller_id: str  # "" for an operator with a shell
    org_ids: frozenset[str] | None  # whose users may be written to; None: of every organisation

    def authorize(self, batch: Batch | None) -> Batch:
        """Return a batch that the caller made, or whose users it may all write to.

        Raises:
            NotFoundError: there is no batch, or it is hidden from the caller.
        """
        if batch is None:
            by_hand = "there is no batch or plan with that id"
            raise NotFoundError(None if self.caller_id else by_hand)
        if not self.may_see(batch):
            raise NotFoundError
        return batch

    def may_see(self, batch: Batch) -> bool:
        """True if the caller made the batch, or may write to all its users."""
        is_own = bool(self.caller_id) and self.caller_id == batch.caller_id
        if self.org_ids is None or is_own:
            return True
        return batch.org_ids is not None and batch.org_ids <= self.org_ids


def looks_signed(token: str) -> bool:
    """Return True if the token may be an issuer's; our own have a prefix and no dots."""
    return token.count(".") > 1 and not token.startswith(keys.TOKEN_PREFIX)


class Authenticator:
    """Knows callers by their tokens, and says what they may do.

    Valid tokens and organisations are cached for CACHE_SECONDS, what is wrong never.
    """

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
        self._lock = threading.Lock()
        self.forget()

    # Who: the caller and the organisation.

    def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller; an organisation header is checked, and plays no other part.

        Raises:
            AuthHeaderMissingError: there is no authorization header.
            AuthHeaderInvalidError: it is not exactly `Bearer <token>`.
            TokenInvalidError: the token is unknown, expired or revoked.
            IssuerUnavailableError: it is an identity provider's, which does not answer.
            OrganisationUnknownError, MembershipMissingError: of the organisation header.
        """
        caller = self._find_caller(credentials.authorization)
        if credentials.org_id:
            self.organisation_in_force(caller, credentials.org_id)
        return caller

    def authorize_in_force(
        self, credentials: Credentials, permission: str
    ) -> tuple[Caller, Organisation]:
        """Return the caller and the organisation in force, in which it has the permission.

        Raises:
            UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
            PermissionDeniedError: none of its roles there has the permission.
        """
        caller = self._find_caller(credentials.authorization)
        organisation = self.organisation_in_force(caller, credentials.org_id)
        self.authorize_in(caller, organisation.org_id, permission)
        return caller, organisation

    def organisation_in_force(self, caller: Caller, header: str | None) -> Organisation:
        """Return the organisation of the header, or the caller's own without one.

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

    # May they: in one organisation, in all.

    def may(self, caller: Caller, org_id: str, permission: str) -> bool:
        """True if a role that the caller holds in the organisation has the permission."""
        return self._has(caller.roles_in(org_id), permission)

    def may_everywhere(self, caller: Caller, permission: str) -> bool:
        """True if a role that the caller holds in every organisation has the permission."""
        return self._has(caller.instance_roles, permission)

    def authorize_in(self, caller: Caller, org_id: str, permission: str) -> None:
        """Check that the caller has the permission in an organisation.

        Raises:
            MembershipMissingError: the caller holds no role there.
            PermissionDeniedError: none of its roles there has the permission.
        """
        if not caller.roles_in(org_id):
            raise MembershipMissingError
        if not self.may(caller, org_id, permission):
            raise PermissionDeniedError

    def authorize_instance(self, caller: Caller, permission: str) -> None:
        """Check that the caller has the permission in every organisation.

        Raises:
            PermissionDeniedError: it has not.
        """
        if not self.may_everywhere(caller, permission):
            raise PermissionDeniedError

    # May they: about one thing. What the caller may not see looks as if it were not there.

    def authorize_reset(self, caller: Caller, reset: Reset | None, permission: str) -> Reset:
        """Return the reset if the caller has the permission in its organisation.

        Raises:
            NotFoundError: there is none, or the caller may not even see it.
            PermissionDeniedError: the caller may only see it.
        """
        if reset is None or not self.may(caller, reset.org_id, USER_READ):
            raise NotFoundError
        if not self.may(caller, reset.org_id, permission):
            raise PermissionDeniedError
        return reset

    def authorize_profile(
        self, caller: Caller, profile: Profile | None, permission: str
    ) -> Profile:
        """Return an organisation's profile if the caller has the permission there.

        Raises:
            NotFoundError: there is no such organisation, or the caller may not even see it.
            PermissionDeniedError: the caller may only see it.
        """
        if profile is None or not self.may(caller, profile.org_id, ORG_READ):
            raise NotFoundError
        if not self.may(caller, profile.org_id, permission):
            raise PermissionDeniedError
        return profile

    def authorize_user(self, caller: Caller, user: User | None) -> None:
        """Check that the caller may do an operator's work for the organisation of a user.

        Raises:
            NotFoundError: there is no user, or the caller may not even see it.
            PermissionDeniedError: the caller may only see it.
        """
        if user is None:
            raise NotFoundError
        try:
            self.authorize_operator(caller, user.org_id)
        except (MembershipMissingError, PermissionDeniedError) as error:
            if self.may(caller, user.org_id, USER_READ):
                raise PermissionDeniedError from error
            raise NotFoundError from error

    def authorize_password_reset(self, caller: Caller, user: User | None) -> User:
        """Return the user if it is the caller, or one the caller may write to.

        Raises:
            UserHiddenError, UserPermissionError.
        """
        if user is not None and caller.user_id == user.user_id:
            return user
        return self.authorize_password_change(caller, user)

    def authorize_password_change(self, caller: Caller, user: User | None) -> User:
        """Return the user if the caller may write to it.

        Raises:
            UserHiddenError: there is no user, or the caller may not even see it.
            UserPermissionError: the caller may only see it.
        """
        if user is None:
            raise UserHiddenError
        if self.may(caller, user.org_id, USER_WRITE):
            return user
        if caller.user_id == user.user_id or self.may(caller, user.org_id, USER_READ):
            raise UserPermissionError
        raise UserHiddenError

    def visible_user(self, caller: Caller, user: User | None) -> User | None:
        """Return the user if it is the caller, or of an organisation that the caller may see."""
        if user is None or caller.user_id == user.user_id:
            return user
        may_see = any(self.may(caller, user.org_id, right) for right in (USER_READ, USER_WRITE))
        return user if may_see else None

    def authorize_operator(self, caller: Caller, org_id: str | None) -> None:
        """Check that the caller may pause an organisation or lift its limits; None: all of them.

        Raises:
            MembershipMissingError, PermissionDeniedError.
        """
        if self.may_everywhere(caller, SYSTEM_WRITE):
            return
        if org_id is None:
            raise PermissionDeniedError
        self.authorize_in(caller, org_id, USER_WRITE)

    def may_see_pauses(self, caller: Caller, org_id: str | None) -> bool:
        """True if the caller may see the pauses of an organisation; None: the installation's."""
        if self.may_everywhere(caller, SYSTEM_READ):
            return True
        return org_id is not None and self.may(caller, org_id, USER_READ)

    def authorize_batches(self, credentials: Credentials) -> Authority:
        """Return the authority of a caller with `user.write` in the organisation in force.

        Raises:
            UnauthenticatedError, OrganisationUnknownError, MembershipMissingError,
            PermissionDeniedError.
        """
        caller, _ = self.authorize_in_force(credentials, USER_WRITE)
        org_ids = None
        if not self.may_everywhere(caller, USER_WRITE):
            org_ids = frozenset(o for o in caller.org_roles if self.may(caller, o, USER_WRITE))
        return Authority(audit_name(caller), caller.token_id, org_ids)

    # What is cached.

    def forget(self) -> None:
        """Drop what is cached: the store says that callers or organisations have changed.

        A look-up under way puts its result into the old cache, which is not read any more.
        """
        self._caller_cache: TLRUCache[str, _Lasting[Caller]] = self._new_cache()
        self._organisation_cache: TLRUCache[str, _Lasting[Organisation]] = self._new_cache()

    def _new_cache(self) -> TLRUCache[str, _Lasting[ValueT]]:
        def until(_key: str, entry: _Lasting[ValueT], _now: float) -> float:
            return entry[1]

        return TLRUCache(CACHE_ENTRIES, ttu=until, timer=self._clock)

    def _find_caller(self, authorization: str | None) -> Caller:
        if not authorization:
            raise AuthHeaderMissingError
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise AuthHeaderInvalidError
        caller = self._read_caller(match[1])[0]
        bind_context(caller_id=caller.token_id)
        return caller

    @cachedmethod(
        lambda self: self._caller_cache,
        key=lambda _, token: Digests.token_digest(token),
        lock=lambda self: self._lock,
    )
    def _read_caller(self, token: str) -> _Lasting[Caller]:
        read_at = self._clock()
        # Our own tokens have a prefix and no dots.
        source = self._issuer if self._issuer and looks_signed(token) else self._callers
        caller = source.find_caller(token)
        if caller is None:
            raise TokenInvalidError
        seconds_left = CACHE_SECONDS if caller.seconds_left is None else caller.seconds_left
        return caller, read_at + min(CACHE_SECONDS, seconds_left)

    def _find_organisation(self, org_id: str) -> Organisation:
        if len(org_id) > ORG_ID_CHARACTERS:
            raise OrganisationUnknownError
        return self._read_organisation(org_id)[0]

    @cachedmethod(
        lambda self: self._organisation_cache,
        key=lambda _, org_id: org_id,
        lock=lambda self: self._lock,
    )
    def _read_organisation(self, org_id: str) -> _Lasting[Organisation]:
        read_at = self._clock()
        organisation = self._callers.find_organisation(org_id)
        if organisation is None:
            raise OrganisationUnknownError
        return organisation, read_at + CACHE_SECONDS

    def _has(self, roles: Iterable[str], permission: str) -> bool:
        return any(permission in self._permissions.get(role, ()) for role in roles)


class _HasAuth(Protocol):
    @property
    def auth(self) -> Authenticator: ...


class _HasLimits(_HasAuth, Protocol):
    @property
    def settings(self) -> Settings: ...
    @property
    def limits(self) -> LimitStore: ...


HouseT = TypeVar("HouseT", bound=_HasAuth)
ParamsT = ParamSpec("ParamsT")
ResultT = TypeVar("ResultT")
UseCase: TypeAlias = Callable[Concatenate[HouseT, ParamsT], ResultT]


def retry_when_rights_change(
    use_case: UseCase[HouseT, ParamsT, ResultT],
) -> UseCase[HouseT, ParamsT, ResultT]:
    """Call the use case again if callers or organisations changed before its record was written.

    It then raises StoreUnavailableError if they never stop changing.
    """

    @functools.wraps(use_case)
    def retried(services: HouseT, /, *args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ResultT:
        for _ in range(MAX_TRIES):
            try:
                return use_case(services, *args, **kwargs)
            except CallerChangedError:
                services.auth.forget()
        raise StoreUnavailableError

    return retried


def count_change(services: _HasLimits, caller: Caller, org_id: str | None, *more: Limit) -> None:
    """Count a call that changes something or sends, and passes no gate of resets.

    The organisation's limit counts the calls of those who may write there: others cannot spend it.

    Raises:
        TooManyRequestsError: a limit is reached.
        CallerChangedError: the caller must be read again.
    """
    is_own = org_id is not None and services.auth.may(caller, org_id, USER_WRITE)
    limits = [*call_limits(services.settings, org_id if is_own else None, caller), *more]
    services.limits.count_change([each for each in limits if each.most], version=caller.version)


@retry_when_rights_change
def count_change_in_force(services: _HasLimits, credentials: Credentials) -> None:
    """Authenticate a caller and count its call for the organisation in force, as `count_change`."""
    caller = services.auth.authenticate(credentials)
    count_change(services, caller, credentials.org_id or caller.org_id)


def authority_by_hand(by: str) -> Authority:
    """Return the authority of an operator with a shell."""
    return Authority(by, "", None)


def audit_name(caller: Caller) -> str:
    """Return how the audit trail names a caller."""
    return f"token {caller.token_id}"


def unknown_roles(names: Iterable[str], settings: Settings) -> list[str]:
    """Return those names that are neither ZITADEL's nor in the role_permissions setting."""
    named_in_settings = {role for role, _ in settings.role_permissions}
    return sorted(set(names) - ROLES.keys() - named_in_settings)
