"""Use case: set a password (v2), by code, by the current password, or by permission."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

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
from shared.policies import (
    MAX_PASSWORD_CHARACTERS,
    NOTICE_LIFETIME_SECONDS,
    check_may_reset,
    check_password,
)
from shared.queue import hint_at
from shared.recording import ResetRequest, record_reset
from shared.store.codes import CompletionNotice, KnownCode
from web.auth import Credentials
from web.resets import check_id_length, record_refusals
from web.services import WebServices

log = structlog.get_logger()

STORE_BACK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Completed:
    """The password is changed."""

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

    The code is judged first, then the password: one against policy leaves the code usable.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError.
        CodeMismatchError: wrong, and a code is live. CodeUnusableError: used, voided, displaced, or
        none is live. CodeExpiredError. TooManyRequestsError: too many wrong codes today.
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError.
        DirectoryUnavailableError: nothing was changed.
        StoreUnavailableError: nothing was changed; or, where the store went away in between and
            stayed away, the password was, and its code still works.
    """
    user = check_may_reset(services.directory.find_user(user_id), None)
    known = _judge_code(services, user_id, typed_code)
    try:
        check_password(new_password, min_characters=services.settings.password_min_characters)
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


def _judge_code(services: WebServices, user_id: str, typed_code: str) -> KnownCode:
    """The live code that was typed. Every known code is compared, whichever matches."""
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


def _refuse_wrong_code(services: WebServices, user_id: str) -> None:
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
    """The password is changed already, so a store that fails now is asked once more."""
    try:
        return services.code_store.complete(
            user.user_id, reset_id=known.reset_id, token=token, notice=notice
        )
    except StoreUnavailableError:
        log.warning("store.unavailable", during="completing")
        time.sleep(STORE_BACK_SECONDS)
        return services.code_store.complete(
            user.user_id, reset_id=known.reset_id, token=token, notice=notice
        )


def make_notice(services: WebServices, user: User, *, language: str) -> CompletionNotice:
    """The record of the mail that tells a person their password was changed."""
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
    """Ask for a fresh message from the page; says nothing about whether anything was recorded.

    The channel is that of the old code where it is known, else e-mail.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: nothing can be recorded for anybody now.
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
    """The channel of an old code; live codes are not compared, so nothing can be guessed here."""
    ended = [known for known in services.code_store.list_known(user_id) if not known.is_live]
    return next((k.channel for k in ended if _matches(services, k, typed_code)), Channel.EMAIL)


MAX_CODE_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class SetPasswordRequest:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    password: str = field(repr=False, default="")
    verification_code: str | None = field(repr=False, default=None)
    current_password: str | None = field(repr=False, default=None)
    change_required: bool = False  # the person must choose another at the next sign-in


def set_password(
    services: WebServices, credentials: Credentials, wanted: SetPasswordRequest
) -> Completed:
    """Change a user's password; every live code is used up and the user is told by mail.

    Raises:
        CallerError: whatever the table of SPEC 4 (SetPassword) says; nothing was changed then.
    """
    caller = services.auth.authenticate(credentials)
    _check_ranges(wanted)
    user = services.directory.find_user(wanted.user_id) if wanted.user_id.isprintable() else None
    if wanted.verification_code is None and wanted.current_password is None:
        services.auth.authorize_password_change(caller, user)
    with _words_of_this_call():
        person = check_may_reset(user, None)
        if wanted.verification_code is not None:
            return complete_reset(
                services,
                user_id=person.user_id,
                typed_code=wanted.verification_code,
                new_password=wanted.password,
                change_required=wanted.change_required,
            )
    if wanted.current_password is not None:
        _check_current_password(services, person, wanted.current_password)
    check_password(wanted.password, min_characters=services.settings.password_min_characters)
    return _change(services, person, wanted)


def _check_ranges(wanted: SetPasswordRequest) -> None:
    check_id_length(wanted.user_id)
    if not wanted.password:
        raise PasswordMissingError
    if len(wanted.password) > MAX_PASSWORD_CHARACTERS:
        raise PasswordTooLongError
    code, current = wanted.verification_code, wanted.current_password
    if code is not None and not 1 <= len(code) <= MAX_CODE_CHARACTERS:
        raise InvalidRequestError("verificationCode must have 1 to 20 characters")
    if current is not None and not 1 <= len(current) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidRequestError("currentPassword must have 1 to 200 characters")


@contextmanager
def _words_of_this_call() -> Iterator[None]:
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


def _change(services: WebServices, user: User, wanted: SetPasswordRequest) -> Completed:
    services.directory.set_password(user, wanted.password, change_required=wanted.change_required)
    language = services.languages.choose(user.language)
    notice = make_notice(services, user, language=language)
    done = services.code_store.complete(user.user_id, reset_id="", token="", notice=notice)
    services.hints.publish(hint_at(notice.reset_id, Channel.EMAIL, Queue.URGENT))
    log.info("password.changed")
    if done is None:
        raise RuntimeError("completing without a code cannot lose a hold")
    return Completed(user, language, *done)
