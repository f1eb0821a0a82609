"""Use case: set a password (v2), by code, by the current password, or by permission."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NoReturn

import structlog

from shared.errors import (
    CallerError,
    CodeExpiredError,
    CodeMismatchError,
    CodeUnusableError,
    DirectoryUnavailableError,
    InvalidRequestError,
    KeyturnError,
    MachineUserError,
    PasswordMismatchError,
    PasswordMissingError,
    PasswordTooLongError,
    PasswordUserNotInitialisedError,
    PasswordUserUnknownError,
    StoreUnavailableError,
    TooManyRequestsError,
    UnknownKeyError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.models import Channel, Queue, User
from shared.passwords.check import check_new_password
from shared.passwords.policy import normalise_password
from shared.policies import NOTICE_LIFETIME_SECONDS, check_may_reset
from shared.queue import hint_at
from shared.recording import ResetRequest, record_reset
from shared.store.codes import CompletionNotice, KnownCode
from shared.validation import MAX_PASSWORD_CHARACTERS
from web.auth import Credentials
from web.resets import check_id_length, record_refusals
from web.services import WebServices

log = structlog.get_logger()

STORE_RETRY_SECONDS = 0.5
MAX_CODE_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class Completed:
    """A changed password."""

    user: User
    language: str
    sequence: int
    changed_at: datetime


def complete_reset(
    services: WebServices,
    *,
    user_id: str,
    typed_code: str,
    new_password: str,
    change_required: bool = False,
) -> Completed:
    """Change a user's password with a code; every live code of the user is used up.

    The code is checked before the password: a password against the policy leaves the code usable.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError.
        CodeMismatchError: the code is wrong, and another one is live.
        CodeUnusableError: the code was used, voided or displaced, or no code is live.
        CodeExpiredError.
        TooManyRequestsError: too many wrong codes today.
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError.
        DirectoryUnavailableError: nothing was changed.
        StoreUnavailableError: nothing was changed; or, if the store failed after the directory was
            written and did not recover, the password was changed and its code still works.
    """
    user = check_may_reset(services.directory.find_user(user_id), None)
    known = _check_code(services, user_id, typed_code)
    try:
        check_new_password(services, user, new_password)
    except KeyturnError:
        services.code_store.note_opened(user_id, known.reset_id)
        raise
    token = services.code_store.take(user_id, known.reset_id)
    if token is None:
        raise CodeUnusableError("used", language=known.language)
    try:
        services.directory.set_password(user, new_password, change_required=change_required)
    except DirectoryUnavailableError:
        services.code_store.release(user_id, token)
        raise
    return _conclude(services, user, known, token)


def _check_code(services: WebServices, user_id: str, typed_code: str) -> KnownCode:
    """Return the live code that matches; always compare all known codes, for constant time."""
    known_codes = services.code_store.begin_try(user_id)
    matching = [known for known in known_codes if _matches(services, known, typed_code)]
    if not matching:
        _refuse_wrong_code(services, user_id)
    known = matching[0]
    if known.is_live:
        return known
    services.code_store.refund_try(user_id)
    log.info("code.refused", reset_id=known.reset_id, why=known.end or "expired")
    if known.end:
        raise CodeUnusableError(known.end, language=known.language)
    raise CodeExpiredError(language=known.language)


def _matches(services: WebServices, known: KnownCode, typed_code: str) -> bool:
    try:
        return services.codes.code(known.reset_id, known.key_id).matches(typed_code)
    except UnknownKeyError:
        return False


def _refuse_wrong_code(services: WebServices, user_id: str) -> NoReturn:
    verdict = services.code_store.note_wrong(user_id)
    log.info("codes.voided" if verdict == "voided" else "code.refused", why="wrong")
    raise CodeUnusableError if verdict == "none" else CodeMismatchError


def _conclude(services: WebServices, user: User, known: KnownCode, token: str) -> Completed:
    notice = make_notice(services, user, language=known.language)
    done = _use_up(services, user, known, token, notice)
    if done is None:
        raise CodeUnusableError("used", language=known.language)
    services.hints.publish(hint_at(notice.reset_id, Channel.EMAIL, Queue.URGENT))
    log.info("reset.completed", reset_id=known.reset_id)
    return Completed(user, known.language, *done)


def _use_up(
    services: WebServices, user: User, known: KnownCode, token: str, notice: CompletionNotice
) -> tuple[int, datetime] | None:
    """Use up the codes; retry once, because the password has been changed already."""
    complete = partial(
        services.code_store.complete,
        user.user_id,
        reset_id=known.reset_id,
        token=token,
        notice=notice,
    )
    try:
        return complete()
    except StoreUnavailableError:
        log.warning("store.unavailable", during="completing")
        time.sleep(STORE_RETRY_SECONDS)
        return complete()


def make_notice(services: WebServices, user: User, *, language: str) -> CompletionNotice:
    """Return the record of the mail "your password was changed"."""
    fields = {
        "u": user.user_id,
        "o": user.org_id,
        "lg": language,
        "kid": services.codes.signing_key_id,
    }
    return CompletionNotice(
        services.digests.new_reset_id(user.user_id), NOTICE_LIFETIME_SECONDS, fields
    )


def request_fresh(services: WebServices, *, user_id: str, typed_code: str) -> None:
    """Request a fresh message from the page; do not reveal whether a reset was recorded.

    The channel is that of the old code if it is known, else e-mail.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: no reset can be recorded at present.
    """
    channel = _channel_of_code(services, user_id, typed_code)
    try:
        with record_refusals(services, user_id, channel):
            user = check_may_reset(services.directory.find_user(user_id), None)
            request = ResetRequest(
                user=user,
                organisation=services.callers.find_organisation(user.org_id),
                channel=channel,
                reset_id=services.digests.new_reset_id(user_id),
            )
            record_reset(services, request)
    except (StoreUnavailableError, DirectoryUnavailableError):
        raise
    except CallerError as error:
        limit = error.limit if isinstance(error, TooManyRequestsError) else None
        log.info("reset.unmatched", why=type(error).__name__, limit=limit)


def _channel_of_code(services: WebServices, user_id: str, typed_code: str) -> Channel:
    """Return the channel of a former code; live codes are not compared, so none can be guessed."""
    ended = [known for known in services.code_store.list_known(user_id) if not known.is_live]
    return next((k.channel for k in ended if _matches(services, k, typed_code)), Channel.EMAIL)


def find_link(services: WebServices, user_id: str, secret: str) -> KnownCode | None:
    """Return the code of a link, live or ended; None if the secret is wrong. No try is counted.

    Not for typed codes, which are short enough to be guessed.
    """
    known_codes = services.code_store.list_known(user_id)
    return next((known for known in known_codes if _matches(services, known, secret)), None)


@dataclass(frozen=True, slots=True)
class SetPasswordRequest:
    """The decoded request, not yet checked."""

    user_id: str
    password: str = field(repr=False, default="")
    verification_code: str | None = field(repr=False, default=None)
    current_password: str | None = field(repr=False, default=None)
    change_required: bool = False  # the user must choose another at the next sign-in


def set_password(
    services: WebServices, credentials: Credentials, request: SetPasswordRequest
) -> Completed:
    """Change a user's password, use up every live code, and notify the user by mail.

    Raises:
        CallerError: the first check that failed; nothing was changed.
    """
    caller = services.auth.authenticate(credentials)
    _check_ranges(request)
    user = services.directory.find_user(request.user_id) if request.user_id.isprintable() else None
    if request.verification_code is None and request.current_password is None:
        services.auth.authorize_password_change(caller, user)
    with _errors_of_this_call():
        person = check_may_reset(user, None)
        if request.verification_code is not None:
            return complete_reset(
                services,
                user_id=person.user_id,
                typed_code=request.verification_code,
                new_password=request.password,
                change_required=request.change_required,
            )
    if request.current_password is not None:
        _check_current_password(services, person, request.current_password)
    check_new_password(services, person, request.password)
    return _change(services, person, request)


def _check_ranges(request: SetPasswordRequest) -> None:
    check_id_length(request.user_id)
    if not request.password:
        raise PasswordMissingError
    if len(normalise_password(request.password)) > MAX_PASSWORD_CHARACTERS:
        raise PasswordTooLongError
    code, current = request.verification_code, request.current_password
    if code is not None and not 1 <= len(code) <= MAX_CODE_CHARACTERS:
        raise InvalidRequestError("verificationCode must have 1 to 20 characters")
    if current is not None and not 1 <= len(normalise_password(current)) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidRequestError("currentPassword must have 1 to 200 characters")


@contextmanager
def _errors_of_this_call() -> Iterator[None]:
    try:
        yield
    except (UserUnknownError, MachineUserError) as error:
        raise PasswordUserUnknownError from error
    except UserNotInitialisedError as error:
        raise PasswordUserNotInitialisedError from error


def _check_current_password(services: WebServices, user: User, password: str) -> None:
    services.code_store.begin_password_try(user.user_id)
    if not services.directory.has_password(user, password):
        raise PasswordMismatchError
    services.code_store.forget_password_tries(user.user_id)


def _change(services: WebServices, user: User, request: SetPasswordRequest) -> Completed:
    services.directory.set_password(user, request.password, change_required=request.change_required)
    organisation = services.callers.find_organisation(user.org_id)
    own = organisation.language if organisation else None
    language = services.languages.choose(user.language, own)
    notice = make_notice(services, user, language=language)
    done = services.code_store.complete(user.user_id, reset_id="", token="", notice=notice)
    services.hints.publish(hint_at(notice.reset_id, Channel.EMAIL, Queue.URGENT))
    log.info("password.changed")
    if done is None:
        raise RuntimeError("completing without a code cannot lose a claim")
    return Completed(user, language, *done)
