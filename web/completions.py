"""The use case of using a code: the only thing that changes a password."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime

import structlog

from shared.errors import (
    CallerError,
    CodeExpiredError,
    CodeMismatchError,
    CodeUnusableError,
    DirectoryUnavailableError,
    KeyturnError,
    StoreUnavailableError,
    TooManyRequestsError,
    UnknownKeyError,
)
from shared.hints import hint_at
from shared.models import Channel, Queue, User
from shared.policies import (
    NOTICE_LIFETIME_SECONDS,
    check_may_reset,
    check_password,
)
from shared.store.codes import KnownCode, Notice
from web.house import House
from web.recording import Order, record_reset
from web.refusing import Asking, remembered

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
    house: House,
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
    user = check_may_reset(house.directory.find_user(user_id), None)
    known = _judge_code(house, user_id, typed_code)
    try:
        check_password(new_password, min_characters=house.settings.password_min_characters)
    except KeyturnError:
        house.code_store.note_opened(user_id, known.reset_id)
        raise
    token = house.code_store.take(user_id, known.reset_id)
    if token is None:
        raise CodeUnusableError("used", language=known.language)
    try:
        house.directory.set_password(user, new_password, change_required=change_required)
    except DirectoryUnavailableError:
        house.code_store.release(user_id, token)
        raise
    return _conclude(house, user, known, token)


def _judge_code(house: House, user_id: str, typed_code: str) -> KnownCode:
    """The live code that was typed. Every known code is compared, whichever matches."""
    known_codes = house.code_store.begin_try(user_id)
    matching = [known for known in known_codes if _matches(house, known, typed_code)]
    if not matching:
        _refuse_wrong_code(house, user_id)
    known = matching[0]
    if known.is_live:
        return known
    house.code_store.refund_try(user_id)
    log.info("code.refused", reset_id=known.reset_id, why=known.end or "expired")
    if known.end:
        raise CodeUnusableError(known.end, language=known.language)
    raise CodeExpiredError(language=known.language)


def _matches(house: House, known: KnownCode, typed_code: str) -> bool:
    try:
        return house.codes.code(known.reset_id, known.key_id).matches(typed_code)
    except UnknownKeyError:
        return False


def _refuse_wrong_code(house: House, user_id: str) -> None:
    verdict = house.code_store.note_wrong(user_id)
    log.info("codes.voided" if verdict == "voided" else "code.refused", why="wrong")
    raise CodeUnusableError if verdict == "none" else CodeMismatchError


def _conclude(house: House, user: User, known: KnownCode, token: str) -> Completed:
    notice = make_notice(house, user, language=known.language)
    done = _use_up(house, user, known, token, notice)
    if done is None:
        raise CodeUnusableError("used", language=known.language)
    house.hints.publish(hint_at(notice.reset_id, Channel.EMAIL, Queue.URGENT))
    log.info("reset.completed", reset_id=known.reset_id)
    return Completed(user, known.language, *done)


def _use_up(
    house: House, user: User, known: KnownCode, token: str, notice: Notice
) -> tuple[int, datetime] | None:
    """The password is changed already, so a store that fails now is asked once more."""
    try:
        return house.code_store.complete(
            user.user_id, reset_id=known.reset_id, token=token, notice=notice
        )
    except StoreUnavailableError:
        log.warning("store.unavailable", during="completing")
        time.sleep(STORE_BACK_SECONDS)
        return house.code_store.complete(
            user.user_id, reset_id=known.reset_id, token=token, notice=notice
        )


def make_notice(house: House, user: User, *, language: str) -> Notice:
    """The record of the mail that tells a person their password was changed."""
    fields = {
        "u": user.user_id,
        "o": user.org_id,
        "lg": language,
        "kid": house.codes.signing_key_id,
    }
    return Notice(house.digests.new_reset_id(user.user_id), NOTICE_LIFETIME_SECONDS, fields)


def request_fresh(house: House, *, user_id: str, typed_code: str) -> None:
    """Ask for a fresh message from the page; says nothing about whether anything was recorded.

    The channel is that of the old code where it is known, else e-mail.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: nothing can be recorded for anybody now.
    """
    channel, request_id = _channel_of_code(house, user_id, typed_code), secrets.token_hex(8)
    try:
        with remembered(house, Asking(user_id, channel, request_id)):
            user = check_may_reset(house.directory.find_user(user_id), None)
            order = Order(
                user=user,
                organisation=house.callers.find_organisation(user.org_id),
                channel=channel,
                reset_id=house.digests.new_reset_id(user_id),
                request_id=request_id,
            )
            record_reset(house, order)
    except (StoreUnavailableError, DirectoryUnavailableError):
        raise
    except CallerError as error:
        limit = error.limit if isinstance(error, TooManyRequestsError) else None
        log.info("reset.unmatched", why=type(error).__name__, limit=limit)


def _channel_of_code(house: House, user_id: str, typed_code: str) -> Channel:
    """The channel of an old code; live codes are not compared, so nothing can be guessed here."""
    ended = [known for known in house.code_store.list_known(user_id) if not known.is_live]
    return next((k.channel for k in ended if _matches(house, k, typed_code)), Channel.EMAIL)
