"""Who may make a batch, for whose users, and who may see and stop it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import NotFoundError
from shared.models import Caller
from shared.store.batch_records import Batch
from web.house import House
from web.resets import Credentials

USER_WRITE = "user.write"


@dataclass(frozen=True, slots=True)
class Authority:
    """In whose name a batch is made or changed."""

    by: str  # as the audit trail names it
    caller_id: str  # "" for whoever sits at this machine
    org_ids: frozenset[str] | None  # whose users may be written to; None: everybody's


def at_this_machine(by: str) -> Authority:
    """Of an operator with a shell."""
    return Authority(by, "", None)


def authority_of(house: House, credentials: Credentials) -> Authority:
    """Of a caller with `user.write` in the organisation in force.

    Raises:
        CallerError: the caller is not known, or may not.
    """
    caller = house.auth.authenticate(credentials.authorization)
    organisation = house.auth.organisation_in_force(caller, credentials.org_id)
    house.auth.require(caller, organisation.org_id, USER_WRITE)
    return Authority(f"token {caller.token_id}", caller.token_id, _org_ids(house, caller))


def require_organisation(house: House, credentials: Credentials, org_id: str) -> None:
    """Nothing, when the caller may write to the users of an organisation.

    Raises:
        OrganisationUnknownError, MembershipMissingError, PermissionDeniedError.
    """
    caller = house.auth.authenticate(credentials.authorization)
    house.auth.organisation_in_force(caller, org_id)
    house.auth.require(caller, org_id, USER_WRITE)


def find_theirs(house: House, authority: Authority, batch_id: str) -> Batch:
    """The batch, for whoever made it and for whoever may write to all whom it may write to.

    Raises:
        NotFoundError: there is none by that id, or it is not theirs to see.
    """
    batch = house.batches.find(batch_id)
    if batch is None or not _may_see(authority, batch):
        raise NotFoundError
    return batch


def _may_see(authority: Authority, batch: Batch) -> bool:
    if authority.org_ids is None or (
        authority.caller_id and authority.caller_id == batch.caller_id
    ):
        return True
    return batch.org_ids is not None and batch.org_ids <= authority.org_ids


def _org_ids(house: House, caller: Caller) -> frozenset[str] | None:
    if house.auth.may_everywhere(caller, USER_WRITE):
        return None
    return frozenset(o for o in caller.org_roles if house.auth.may(caller, o, USER_WRITE))
