"""The use case of asking for a reset (v1): faces call it and hold no rule of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog

from shared import errors
from shared.codes import Code
from shared.errors import (
    CallerError,
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
from shared.links import check_link_host, check_template
from shared.models import Caller, Channel, Kind, Organisation, User
from shared.policies import check_may_reset
from shared.recording import ResetRequest, record_reset
from shared.store.admin.refusals import NewRefusal
from shared.store.resets import Recorded
from web.auth import Credentials
from web.idempotency import record_once
from web.services import WebServices

log = structlog.get_logger()

# Only what is met after the user was found: ids that nobody has must fill no memory.
RECORDED_ERRORS = (
    errors.TooManyRequestsError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.UserInactiveError,
    errors.UserNotInitialisedError,
    errors.ResetUserNotInitialisedError,
    errors.MachineUserError,
    errors.UrlNotAllowedError,
)


@dataclass(frozen=True, slots=True)
class RefusalContext:
    """For whom, on which channel, under which request id, and by whom it is asked."""

    user_id: str
    channel: Channel
    request_id: str | None = None
    caller: Caller | None = None


@contextmanager
def record_refusals(services: WebServices, asked: RefusalContext) -> Iterator[None]:
    """Whatever refuses the request inside is noted for the user, and raised on."""
    try:
        yield
    except RECORDED_ERRORS as error:
        limited = error if isinstance(error, errors.TooManyRequestsError) else None
        refusal = NewRefusal(
            error=type(error).__name__.removesuffix("Error"),
            channel=asked.channel,
            limit=limited.limit if limited else "",
            wait_seconds=limited.retry_after_seconds if limited else 0,
            request_id=asked.request_id or "",
            caller_id=asked.caller.token_id if asked.caller else "",
        )
        try:
            services.refusals.record(asked.user_id, refusal)
        except errors.StoreUnavailableError:
            log.warning("store.unavailable", during="refusing")
        raise


MAX_USER_ID_CHARACTERS = 200
CHANNELS_BY_NAME = {"TYPE_EMAIL": Channel.EMAIL, "TYPE_SMS": Channel.SMS}
CHANNELS_BY_NUMBER = {0: Channel.EMAIL, 1: Channel.SMS}


@dataclass(frozen=True, slots=True)
class SendNotificationRequest:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    type: str | int | None = None  # the enum's name or number
    idempotency_key: str | None = None
    request_id: str | None = None


def request_reset(
    services: WebServices, credentials: Credentials, wanted: SendNotificationRequest
) -> Recorded:
    """Record a reset for a user of the organisation in force, and hint a worker at it.

    Raises:
        CallerError: whatever SPEC's order of checks meets first; nothing was recorded then.
    """
    return services.auth.with_present_rights(lambda: _request_reset(services, credentials, wanted))


def _request_reset(
    services: WebServices, credentials: Credentials, wanted: SendNotificationRequest
) -> Recorded:
    caller = services.auth.authenticate(credentials.authorization)
    organisation = services.auth.organisation_in_force(caller, credentials.org_id)
    services.auth.require(caller, organisation.org_id, "user.write")
    channel = read_channel(wanted.type)
    check_user_id(wanted.user_id)

    def record(reset_id: str) -> Recorded:
        found = services.directory.find_user(wanted.user_id)
        order = ResetRequest(
            user=check_may_reset(found, organisation.org_id),
            organisation=organisation,
            channel=channel,
            reset_id=reset_id,
            caller=caller,
            request_id=wanted.request_id,
            is_repeatable=wanted.idempotency_key is not None,
        )
        return record_reset(services, order)

    asked = RefusalContext(wanted.user_id, channel, wanted.request_id, caller)
    with record_refusals(services, asked):
        return record_once(
            services,
            caller,
            wanted.idempotency_key,
            user_id=wanted.user_id,
            meaning=("v1", organisation.org_id, channel),
            record=record,
        )


def read_channel(value: str | int | None) -> Channel:
    """The channel of v1's `type`; nothing means e-mail.

    Raises:
        InvalidRequestError: it names none.
    """
    if value is None:
        return Channel.EMAIL
    known = CHANNELS_BY_NAME.get(value) if isinstance(value, str) else CHANNELS_BY_NUMBER.get(value)
    if known is None:
        raise InvalidRequestError("type must be TYPE_EMAIL (0) or TYPE_SMS (1)")
    return known


def check_user_id(user_id: str, *, unknown: type[CallerError] = UserUnknownError) -> None:
    """Whether this can be a user's id.

    Raises:
        InvalidRequestError: empty or too long. `unknown`: nobody can have it.
    """
    check_id_length(user_id)
    if not user_id.isprintable():
        raise unknown


def check_id_length(user_id: str) -> None:
    """Whether a user's id can be this long.

    Raises:
        InvalidRequestError: it cannot.
    """
    if not 1 <= len(user_id) <= MAX_USER_ID_CHARACTERS:
        raise InvalidRequestError("userId must have 1 to 200 characters")


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
class PasswordResetRequest:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    returns_code: bool = False
    notification_type: str | int | None = None  # the enum's name or number
    url_template: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None


def request_password_reset(
    services: WebServices, credentials: Credentials, wanted: PasswordResetRequest
) -> tuple[Recorded, Code | None]:
    """Record a reset for a user the caller may write to; the code when it was asked for.

    Raises:
        CallerError: whatever SPEC's order of checks meets first; nothing was recorded then.
    """
    return services.auth.with_present_rights(lambda: _request(services, credentials, wanted))


def _request(
    services: WebServices, credentials: Credentials, wanted: PasswordResetRequest
) -> tuple[Recorded, Code | None]:
    caller = authenticate(services, credentials)
    channel = _read_ranges(wanted)
    kind = Kind.RETURNED if wanted.returns_code else Kind.RESET

    def record(reset_id: str) -> Recorded:
        user, organisation = _find_user(services, caller, wanted)
        order = ResetRequest(
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
        return record_reset(services, order)

    asked = RefusalContext(wanted.user_id, channel, wanted.request_id, caller)
    with record_refusals(services, asked):
        recorded = record_once(
            services,
            caller,
            wanted.idempotency_key,
            user_id=wanted.user_id,
            meaning=("v2", kind, channel, wanted.url_template or ""),
            record=record,
        )
    return recorded, _code_of(services, recorded) if wanted.returns_code else None


def authenticate(services: WebServices, credentials: Credentials) -> Caller:
    """The caller; in v2 the organisation header is checked when present, and plays no other part.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = services.auth.authenticate(credentials.authorization)
    if credentials.org_id:
        services.auth.organisation_in_force(caller, credentials.org_id)
    return caller


def require_write(services: WebServices, caller: Caller, user: User | None) -> User:
    """The user, when the caller may write to it; a hidden one looks like an unknown one.

    Raises:
        UserHiddenError: unknown, or the caller may not even see it. UserPermissionError: only see.
    """
    if user is None:
        raise UserHiddenError
    if services.auth.may(caller, user.org_id, "user.write"):
        return user
    if is_own(caller, user) or services.auth.may(caller, user.org_id, "user.read"):
        raise UserPermissionError
    raise UserHiddenError


def is_own(caller: Caller, user: User | None) -> bool:
    """True when the caller is this user."""
    return user is not None and caller.user_id == user.user_id


def _read_ranges(wanted: PasswordResetRequest) -> Channel:
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
    services: WebServices, caller: Caller, wanted: PasswordResetRequest
) -> tuple[User, Organisation | None]:
    if wanted.url_template is not None:
        check_template(wanted.url_template)
    found = services.directory.find_user(wanted.user_id)
    user = found if found and is_own(caller, found) else require_write(services, caller, found)
    organisation = services.callers.find_organisation(user.org_id)
    if wanted.url_template is not None:
        check_link_host(wanted.url_template, _allowed_hosts(services, organisation))
    try:
        return check_may_reset(user, None), organisation
    except UserNotInitialisedError as error:
        raise ResetUserNotInitialisedError from error
    except (MachineUserError, UserUnknownError) as error:
        raise UserHiddenError from error


def _allowed_hosts(services: WebServices, organisation: Organisation | None) -> frozenset[str]:
    own = organisation.link_hosts if organisation else ()
    base = urlsplit(services.settings.link_base).hostname or ""
    return frozenset((base, *services.settings.link_hosts, *own))


def _code_of(services: WebServices, recorded: Recorded) -> Code:
    """The code of a reset, again or for the first time: it is derived, so it needs no keeping.

    Raises:
        CodeExpiredError: it was made with a key that is no longer held, so it opens nothing.
    """
    reset = services.resets.find(recorded.reset_id)
    key_id = reset.key_id if reset else services.codes.signing_key_id
    try:
        return services.codes.code(recorded.reset_id, key_id)
    except UnknownKeyError as error:
        raise CodeExpiredError from error
