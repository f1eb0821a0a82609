"""Who may pull which lever by the API: the installation's, an organisation's, one reset's."""

from __future__ import annotations

from shared.errors import MembershipMissingError, NotFoundError, PermissionDeniedError
from shared.models import Caller, Reset
from web.house import House
from web.resets import Credentials

SYSTEM_READ, SYSTEM_WRITE = "system.read", "system.write"
USER_READ, USER_WRITE = "user.read", "user.write"


def authenticate(house: House, credentials: Credentials) -> Caller:
    """The caller; an organisation header is checked when present, and plays no other part.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = house.auth.authenticate(credentials.authorization)
    if credentials.org_id:
        house.auth.organisation_in_force(caller, credentials.org_id)
    return caller


def require_everywhere(house: House, caller: Caller, permission: str) -> None:
    """Nothing, when the caller may do this to the whole installation.

    Raises:
        PermissionDeniedError: no role that it holds in every organisation allows it.
    """
    if not house.auth.may_everywhere(caller, permission):
        raise PermissionDeniedError


def require_in(house: House, caller: Caller, org_id: str) -> None:
    """Nothing, when the caller may pull the levers of an organisation.

    Raises:
        MembershipMissingError, PermissionDeniedError.
    """
    if not house.auth.may_everywhere(caller, SYSTEM_WRITE):
        house.auth.require(caller, org_id, USER_WRITE)


def require_reset(house: House, caller: Caller, reset_id: str) -> Reset:
    """The reset, when the caller may write to users of its organisation.

    Raises:
        NotFoundError: none, or not theirs to see. PermissionDeniedError: only to see.
    """
    reset = house.resets.find(reset_id)
    if reset is None or not house.auth.may(caller, reset.org_id, USER_READ):
        raise NotFoundError
    if not house.auth.may(caller, reset.org_id, USER_WRITE):
        raise PermissionDeniedError
    return reset


def require_user(house: House, caller: Caller, user_id: str) -> None:
    """Nothing, when the caller may pull the levers of the organisation a user belongs to.

    Raises:
        NotFoundError: no such user, or not theirs to see. PermissionDeniedError: only to see.
    """
    user = house.directory.find_user(user_id)
    if user is None:
        raise NotFoundError
    try:
        require_in(house, caller, user.org_id)
    except (MembershipMissingError, PermissionDeniedError) as error:
        if house.auth.may(caller, user.org_id, USER_READ):
            raise PermissionDeniedError from error
        raise NotFoundError from error


def by_token(caller: Caller) -> str:
    """How the audit trail names a caller."""
    return f"token {caller.token_id}"
