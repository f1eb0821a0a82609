"""The use case of PasswordReset (v2): a message by link, or the code back to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.codes import Code
from shared.errors import (
    CodeExpiredError,
    InvalidRequestError,
    MachineUserError,
    ResetUserNotInitialisedError,
    UnknownKeyError,
    UserHiddenError,
    UserNotInitialisedError,
    UserPermissionError,
    UserUnknownError,
)
from shared.link_hosts import check_link_host
from shared.links import check_template
from shared.models import Caller, Channel, Kind, Organisation, User
from shared.policies import check_may_reset
from shared.store.resets import Recorded
from web.house import House
from web.once import record_once
from web.recording import Order, record_reset
from web.refusing import Asking, remembered
from web.resets import Credentials, check_user_id

MAX_TEMPLATE_CHARACTERS = 200
CHANNELS: dict[str | int | None, Channel] = {
    None: Channel.EMAIL,
    "NOTIFICATION_TYPE_Unspecified": Channel.EMAIL,
    "NOTIFICATION_TYPE_Email": Channel.EMAIL,
    "NOTIFICATION_TYPE_SMS": Channel.SMS,
    0: Channel.EMAIL,
    1: Channel.EMAIL,
    2: Channel.SMS,
}


@dataclass(frozen=True, slots=True)
class WantedPasswordReset:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    returns_code: bool = False
    notification_type: str | int | None = None  # the enum's name or number
    url_template: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None


def request_password_reset(
    house: House, credentials: Credentials, wanted: WantedPasswordReset
) -> tuple[Recorded, Code | None]:
    """Record a reset for a user the caller may write to; the code when it was asked for.

    Raises:
        CallerError: whatever SPEC's order of checks meets first; nothing was recorded then.
    """
    return house.auth.with_present_rights(lambda: _request(house, credentials, wanted))


def _request(
    house: House, credentials: Credentials, wanted: WantedPasswordReset
) -> tuple[Recorded, Code | None]:
    caller = authenticate(house, credentials)
    channel = _read_ranges(wanted)
    kind = Kind.RETURNED if wanted.returns_code else Kind.RESET

    def record(reset_id: str) -> Recorded:
        user, organisation = _find_user(house, caller, wanted)
        order = Order(
            user=user,
            organisation=organisation,
            channel=channel,
            reset_id=reset_id,
            caller=caller,
            request_id=wanted.request_id,
            is_repeatable=wanted.idempotency_key is not None,
            kind=kind,
            url_template=wanted.url_template,
        )
        return record_reset(house, order)

    asked = Asking(wanted.user_id, channel, wanted.request_id, caller)
    with remembered(house, asked):
        recorded = record_once(
            house,
            caller,
            wanted.idempotency_key,
            user_id=wanted.user_id,
            meaning=("v2", kind, channel, wanted.url_template or ""),
            record=record,
        )
    return recorded, _code_of(house, recorded) if wanted.returns_code else None


def authenticate(house: House, credentials: Credentials) -> Caller:
    """The caller; in v2 the organisation header is checked when present, and plays no other part.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = house.auth.authenticate(credentials.authorization)
    if credentials.org_id:
        house.auth.organisation_in_force(caller, credentials.org_id)
    return caller


def require_write(house: House, caller: Caller, user: User | None) -> User:
    """The user, when the caller may write to it; a hidden one looks like an unknown one.

    Raises:
        UserHiddenError: unknown, or the caller may not even see it. UserPermissionError: only see.
    """
    if user is None:
        raise UserHiddenError
    if house.auth.may(caller, user.org_id, "user.write"):
        return user
    if is_own(caller, user) or house.auth.may(caller, user.org_id, "user.read"):
        raise UserPermissionError
    raise UserHiddenError


def is_own(caller: Caller, user: User | None) -> bool:
    """True when the caller is this user."""
    return user is not None and caller.user_id == user.user_id


def _read_ranges(wanted: WantedPasswordReset) -> Channel:
    check_user_id(wanted.user_id, unknown=UserHiddenError)
    if wanted.notification_type not in CHANNELS:
        raise InvalidRequestError(
            "notificationType must be NOTIFICATION_TYPE_Unspecified (0), "
            "NOTIFICATION_TYPE_Email (1) or NOTIFICATION_TYPE_SMS (2)"
        )
    template = wanted.url_template
    if template is not None and not 1 <= len(template) <= MAX_TEMPLATE_CHARACTERS:
        raise InvalidRequestError("urlTemplate must have 1 to 200 characters")
    return CHANNELS[wanted.notification_type]


def _find_user(
    house: House, caller: Caller, wanted: WantedPasswordReset
) -> tuple[User, Organisation | None]:
    if wanted.url_template is not None:
        check_template(wanted.url_template)
    found = house.directory.find_user(wanted.user_id)
    user = found if found and is_own(caller, found) else require_write(house, caller, found)
    organisation = house.callers.find_organisation(user.org_id)
    if wanted.url_template is not None:
        check_link_host(wanted.url_template, _allowed_hosts(house, organisation))
    try:
        return check_may_reset(user, None), organisation
    except UserNotInitialisedError as error:
        raise ResetUserNotInitialisedError from error
    except (MachineUserError, UserUnknownError) as error:
        raise UserHiddenError from error


def _allowed_hosts(house: House, organisation: Organisation | None) -> frozenset[str]:
    own = organisation.link_hosts if organisation else ()
    base = urlsplit(house.settings.link_base).hostname or ""
    return frozenset((base, *house.settings.link_hosts, *own))


def _code_of(house: House, recorded: Recorded) -> Code:
    """The code of a reset, again or for the first time: it is derived, so it needs no keeping.

    Raises:
        CodeExpiredError: it was made with a key that is no longer held, so it opens nothing.
    """
    reset = house.resets.find(recorded.reset_id)
    key_id = reset.key_id if reset else house.codes.signing_key_id
    try:
        return house.codes.code(recorded.reset_id, key_id)
    except UnknownKeyError as error:
        raise CodeExpiredError from error
