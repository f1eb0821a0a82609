"""Use cases: request a reset (v1, v2). The order of the checks is part of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from shared import errors
from shared.codes import Code
from shared.errors import InvalidRequestError
from shared.links import check_link_host, check_template
from shared.models import Caller, Channel, Kind, Organisation, User
from shared.policies import check_may_reset
from shared.recording import ResetRequest, record_reset
from shared.store.admin.audit import Act
from shared.store.admin.refusals import NewRefusal
from shared.store.resets import Recorded
from shared.tracing import current_request_id
from shared.validation import format_timestamp
from web.auth import USER_WRITE, Credentials, audit_name, retry_when_rights_change
from web.idempotency import idempotent
from web.services import WebServices

log = structlog.get_logger()

MAX_USER_ID_CHARACTERS = 200
MAX_TEMPLATE_CHARACTERS = 200

CHANNELS_BY_NAME = {"TYPE_EMAIL": Channel.EMAIL, "TYPE_SMS": Channel.SMS}  # of v1
CHANNELS_BY_NUMBER = {0: Channel.EMAIL, 1: Channel.SMS}
CHANNELS: dict[str | int | None, Channel] = {
    None: Channel.EMAIL,
    "NOTIFICATION_TYPE_Unspecified": Channel.EMAIL,
    "NOTIFICATION_TYPE_Email": Channel.EMAIL,
    "NOTIFICATION_TYPE_SMS": Channel.SMS,
    0: Channel.EMAIL,
    1: Channel.EMAIL,
    2: Channel.SMS,
}

# Only errors raised after the user was found: unknown ids must not fill the store.
RECORDED_ERRORS = (
    errors.TooManyRequestsError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.LineTypeError,
    errors.SmsSuspiciousError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.UserInactiveError,
    errors.UserNotInitialisedError,
    errors.ResetUserNotInitialisedError,
    errors.MachineUserError,
    errors.UrlNotAllowedError,
)


@dataclass(frozen=True, slots=True)
class SendNotificationRequest:
    """Send Reset Password Notification (v1), decoded but not checked."""

    user_id: str
    type: str | int | None = None  # the enum's name or number
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class PasswordResetRequest:
    """PasswordReset (v2), decoded but not checked."""

    user_id: str
    returns_code: bool = False
    notification_type: str | int | None = None  # the enum's name or number
    url_template: str | None = None
    idempotency_key: str | None = None


@retry_when_rights_change
def request_reset(
    services: WebServices, credentials: Credentials, request: SendNotificationRequest
) -> Recorded:
    """Record a reset for a user of the organisation in force (v1).

    Raises:
        CallerError: the first check that failed; nothing was recorded.
    """
    caller, organisation = services.auth.authorize_in_force(credentials, USER_WRITE)
    channel = read_channel(request.type)
    check_user_id(request.user_id)
    with (
        record_refusals(services, request.user_id, channel, caller),
        idempotent(
            services,
            caller,
            request.idempotency_key,
            user_id=request.user_id,
            meaning=("v1", organisation.org_id, channel),
        ) as slot,
    ):
        if slot.known:
            return slot.known
        user = services.directory.find_user(request.user_id)
        new = ResetRequest(
            user=check_may_reset(user, organisation.org_id),
            organisation=organisation,
            channel=channel,
            reset_id=slot.reset_id,
            caller=caller,
            is_repeatable=request.idempotency_key is not None,
        )
        return record_reset(services, new)


@retry_when_rights_change
def request_password_reset(
    services: WebServices, credentials: Credentials, request: PasswordResetRequest
) -> tuple[Recorded, Code | None]:
    """Record a reset for a user the caller may write to (v2); return its code if asked for.

    Raises:
        CallerError: the first check that failed; nothing was recorded.
    """
    caller = services.auth.authenticate(credentials)
    channel = _read_ranges(request)
    kind = Kind.RETURNED if request.returns_code else Kind.RESET
    with (
        record_refusals(services, request.user_id, channel, caller),
        idempotent(
            services,
            caller,
            request.idempotency_key,
            user_id=request.user_id,
            meaning=("v2", kind, channel, request.url_template or ""),
        ) as slot,
    ):
        recorded = slot.known
        if recorded is None:
            user, organisation = _find_user(services, caller, request)
            new = ResetRequest(
                user=user,
                organisation=organisation,
                channel=channel,
                reset_id=slot.reset_id,
                caller=caller,
                is_repeatable=request.idempotency_key is not None,
                kind=kind,
                url_template=request.url_template,
            )
            recorded = record_reset(services, new)
    if not request.returns_code:
        return recorded, None
    code = _code_of(services, recorded)
    # Every time the code leaves here, after the record and before the answer.
    act = Act(by=audit_name(caller), action="reset.return_code", target=request.user_id)
    services.audit.record(act)
    return recorded, code


def _read_ranges(request: PasswordResetRequest) -> Channel:
    check_user_id(request.user_id, unknown=errors.UserHiddenError)
    if request.notification_type not in CHANNELS:
        raise InvalidRequestError(
            "notificationType must be NOTIFICATION_TYPE_Unspecified (0), "
            "NOTIFICATION_TYPE_Email (1) or NOTIFICATION_TYPE_SMS (2)"
        )
    template = request.url_template
    if template is not None and not 1 <= len(template) <= MAX_TEMPLATE_CHARACTERS:
        raise InvalidRequestError("urlTemplate must have 1 to 200 characters")
    return CHANNELS[request.notification_type]


def _find_user(
    services: WebServices, caller: Caller, request: PasswordResetRequest
) -> tuple[User, Organisation | None]:
    """Return the user and its organisation, in the words of v2's errors."""
    if request.url_template is not None:
        check_template(request.url_template)
    found = services.directory.find_user(request.user_id)
    user = services.auth.authorize_password_reset(caller, found)
    organisation = services.callers.find_organisation(user.org_id)
    if request.url_template is not None:
        own = organisation.link_hosts if organisation else ()
        allowed = (*services.settings.link_hosts, *own)
        check_link_host(request.url_template, allowed, base=services.settings.link_base)
    try:
        return check_may_reset(user, None), organisation
    except errors.UserNotInitialisedError as error:
        raise errors.ResetUserNotInitialisedError from error
    except (errors.MachineUserError, errors.UserUnknownError) as error:
        raise errors.UserHiddenError from error


def _code_of(services: WebServices, recorded: Recorded) -> Code:
    """Derive the code of a reset, whether it was recorded now or by an earlier call.

    Raises:
        CodeExpiredError: its key is no longer in the settings, so it would open nothing.
    """
    reset = services.resets.find(recorded.reset_id)
    key_id = reset.key_id if reset else services.codes.signing_key_id
    try:
        return services.codes.code(recorded.reset_id, key_id)
    except errors.UnknownKeyError as error:
        raise errors.CodeExpiredError from error


@contextmanager
def record_refusals(
    services: WebServices, user_id: str, channel: Channel, caller: Caller | None = None
) -> Iterator[None]:
    """Record what refuses the request inside, for `explain`, and raise it again."""
    try:
        yield
    except RECORDED_ERRORS as error:
        limited = error if isinstance(error, errors.TooManyRequestsError) else None
        refusal = NewRefusal(
            error=type(error).__name__.removesuffix("Error"),
            channel=channel,
            limit=limited.limit if limited else _stopped_by(error),
            wait_seconds=limited.retry_after_seconds if limited else 0,
            request_id=current_request_id() or "",
            caller_id=caller.token_id if caller else "",
        )
        try:
            services.refusals.record(user_id, refusal)
        except errors.StoreUnavailableError:
            log.warning("store.unavailable", during="refusing")
        raise


def _stopped_by(error: errors.CallerError) -> str:
    """Return what stopped an SMS, until when: `velocity|+8801|2026-…`; empty for other errors."""
    if not isinstance(error, errors.SmsSuspiciousError):
        return ""
    return f"{error.rule}|{error.about}|{format_timestamp(error.until) or ''}"


def read_channel(value: str | int | None) -> Channel:
    """Return the channel of v1's `type`; without one, e-mail.

    Raises:
        InvalidRequestError: there is no such type.
    """
    if value is None:
        return Channel.EMAIL
    known = CHANNELS_BY_NAME.get(value) if isinstance(value, str) else CHANNELS_BY_NUMBER.get(value)
    if known is None:
        raise InvalidRequestError("type must be TYPE_EMAIL (0) or TYPE_SMS (1)")
    return known


def check_user_id(
    user_id: str, *, unknown: type[errors.CallerError] = errors.UserUnknownError
) -> None:
    """Check that a user can have this id.

    Raises:
        InvalidRequestError: it is empty or too long.
        `unknown`: it is not printable.
    """
    check_id_length(user_id)
    if not user_id.isprintable():
        raise unknown


def check_id_length(user_id: str) -> None:
    """Raise InvalidRequestError unless an id has 1 to 200 characters."""
    if not 1 <= len(user_id) <= MAX_USER_ID_CHARACTERS:
        raise InvalidRequestError("userId must have 1 to 200 characters")
