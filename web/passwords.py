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

from shared.codes import is_link_secret, normalise
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
from shared.store.codes import MAX_WRONG_OF_A_RESET, CompletionNotice, Guesser, KnownCode
from shared.store.limits import Limit
from web.auth import Credentials
from web.resets import check_id_length, record_refusals
from web.services import WebServices

log = structlog.get_logger()

STORE_RETRY_SECONDS = 0.5
MAX_CODE_CHARACTERS = 20
HOUR_SECONDS = 3600
SOURCE_FACTOR = 10  # one source may ask the page for so many times what one user may get
NEVER_MS = 1 << 52  # later than any moment: nothing is newer, only what waits is in the way


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
    guesser: Guesser,
    change_required: bool = False,
) -> Completed:
    """Change a user's password with a code; every live code of the user is used up.

    The code is checked before the password: a password against the policy leaves the code usable.
    `guesser`: whose wrong codes are counted.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError.
        CodeMismatchError: the code is wrong, and another one is live.
        CodeUnusableError: the code was used, voided or displaced, or no code is live.
        CodeExpiredError.
        TooManyRequestsError: too many typed codes of the guesser were wrong.
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError.
        DirectoryUnavailableError: nothing was changed.
        StoreUnavailableError: nothing was changed; or, if the store failed after the directory was
            written and did not recover, the password was changed and its code still works.
    """
    user = check_may_reset(services.directory.find_user(user_id), None)
    known, tried = check_code(services, user_id, typed_code, guesser)
    return use_code(services, user, known, tried, new_password, change_required=change_required)


def use_code(
    services: WebServices,
    user: User,
    known: KnownCode,
    tried: Guesser | None,
    new_password: str,
    *,
    change_required: bool = False,
) -> Completed:
    """Change the password with a code that is right; raise as complete_reset."""
    user_id = user.user_id
    try:
        check_password(new_password, min_characters=services.settings.password_min_characters)
    except KeyturnError:
        services.code_store.note_opened(user_id, known.reset_id, tried)
        raise
    token = services.code_store.take(user_id, known.reset_id, tried)
    if token is None:
        raise CodeUnusableError("used", language=known.language)
    try:
        services.directory.set_password(user, new_password, change_required=change_required)
    except DirectoryUnavailableError:
        services.code_store.release(user_id, token)
        raise
    return _conclude(services, user, known, token)


def check_code(
    services: WebServices, user_id: str, typed_code: str, guesser: Guesser
) -> tuple[KnownCode, Guesser | None]:
    """Return the live code that matches, and whose try it was: a link's secret needs none.

    All known codes are compared, for constant time. A link's secret is right whatever others tried.
    """
    tried, store = None if is_link_secret(typed_code) else guesser, services.code_store
    known_codes = store.begin_try(user_id, tried) if tried else store.list_known(user_id)
    matching = [known for known in known_codes if _matches(services, known, typed_code)]
    if not matching:
        _refuse_wrong_code(services, user_id, known_codes, tried)
    known = matching[0]
    if known.may_be_typed or (known.is_live and tried is None):
        return known, tried
    store.refund_try(user_id, tried)
    end = "voided" if known.is_live else known.end
    log.info("code.refused", reset_id=known.reset_id, why=end or "expired")
    if end:
        raise CodeUnusableError(end, language=known.language)
    raise CodeExpiredError(language=known.language)


def _matches(services: WebServices, known: KnownCode, typed_code: str) -> bool:
    try:
        return services.codes.code(known.reset_id, known.key_id).matches(typed_code)
    except UnknownKeyError:
        return False


def _refuse_wrong_code(
    services: WebServices, user_id: str, known_codes: list[KnownCode], tried: Guesser | None
) -> NoReturn:
    services.code_store.note_wrong(user_id, tried)
    log.info("code.refused", why="wrong")
    for known in known_codes if tried else ():
        if known.is_live and known.wrong_tries == MAX_WRONG_OF_A_RESET - 1:
            log.warning("codes.voided", reset_id=known.reset_id)
    if any(known.is_live if tried is None else known.may_be_typed for known in known_codes):
        raise CodeMismatchError
    raise CodeUnusableError


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


def request_fresh(services: WebServices, *, user_id: str, typed_code: str, source: str) -> None:
    """Request a fresh message from the page; do not reveal whether a reset was recorded.

    The button has limits of its own, so that a stranger's presses spend nothing of the API's.
    Holders of a former code, or of a link, have theirs apart from strangers', and get the message
    on its channel; all others get it by e-mail, and only if none waits to be sent.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: no reset can be recorded at present.
    """
    held = _find_held(services, user_id, typed_code)
    channel = held.channel if held else Channel.EMAIL
    try:
        with record_refusals(services, user_id, channel):
            user = check_may_reset(services.directory.find_user(user_id), None)
            request = ResetRequest(
                user=user,
                organisation=services.callers.find_organisation(user.org_id),
                channel=channel,
                reset_id=services.digests.new_reset_id(user_id),
                limits=_page_limits(services, user, None if held else source),
                has_user_limits=False,
                since_ms=0 if held else NEVER_MS,
            )
            record_reset(services, request)
    except (StoreUnavailableError, DirectoryUnavailableError):
        raise
    except CallerError as error:
        limit = error.limit if isinstance(error, TooManyRequestsError) else None
        log.info("reset.unmatched", why=type(error).__name__, limit=limit)


def _page_limits(services: WebServices, user: User, stranger: str | None) -> tuple[Limit, ...]:
    """Return the limits of the page's button; `stranger` is the source of one without a code."""
    settings, digests = services.settings, services.digests
    _, digest = digests.user_place(user.user_id)
    who, most = "page_holder", settings.user_limit_per_hour
    of_source: tuple[Limit, ...] = ()
    if stranger is not None:
        who, most = "page_user", settings.page_limit_per_hour
        about = digests.digest("source", stranger)
        of_source = (Limit("page_source", about, most * SOURCE_FACTOR, HOUR_SECONDS),)
    return (
        Limit(f"{who}_pause", digest, 1, int(settings.user_cooldown_seconds)),
        Limit(who, digest, most, HOUR_SECONDS),
        Limit("page_organisation", user.org_id, settings.org_limit_per_minute, 60),
        *of_source,
    )


def _find_held(services: WebServices, user_id: str, typed_code: str) -> KnownCode | None:
    """Return the code that was given; a live one by its link alone, so none can be guessed."""
    is_link = is_link_secret(typed_code)
    known_codes = services.code_store.list_known(user_id)
    candidates = [known for known in known_codes if is_link or not known.is_live]
    return next((known for known in candidates if _matches(services, known, typed_code)), None)


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
                guesser=Guesser(f"token {caller.token_id}", f"token {caller.token_id}"),
                change_required=request.change_required,
            )
    if request.current_password is not None:
        _check_current_password(services, person, request.current_password)
    check_password(request.password, min_characters=services.settings.password_min_characters)
    return _change(services, person, request)


def _check_ranges(request: SetPasswordRequest) -> None:
    check_id_length(request.user_id)
    if not request.password:
        raise PasswordMissingError
    if len(request.password) > MAX_PASSWORD_CHARACTERS:
        raise PasswordTooLongError
    code, current = request.verification_code, request.current_password
    # Hyphens and blanks do not count, for a link's secret alone takes all of them.
    if code is not None and not (code and len(normalise(code)) <= MAX_CODE_CHARACTERS):
        raise InvalidRequestError("verificationCode must have 1 to 20 characters")
    if current is not None and not 1 <= len(current) <= MAX_PASSWORD_CHARACTERS:
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
