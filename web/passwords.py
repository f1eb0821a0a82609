"""The use case of SetPassword (v2): by code, by the current password, or by permission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from shared.errors import (
    InvalidRequestError,
    MachineUserError,
    PasswordMismatchError,
    PasswordMissingError,
    PasswordTooLongError,
    PasswordUserNotInitialisedError,
    PasswordUserUnknownError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.hints import hint_at
from shared.models import Channel, Queue, User
from shared.policies import MAX_PASSWORD_CHARACTERS, check_may_reset, check_password
from web.completions import Completed, complete_reset, make_notice
from web.house import House
from web.resets import Credentials, check_id_length
from web.resets_v2 import authenticate, require_write

log = structlog.get_logger()

MAX_CODE_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class WantedPassword:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    password: str = field(repr=False, default="")
    verification_code: str | None = field(repr=False, default=None)
    current_password: str | None = field(repr=False, default=None)
    change_required: bool = False  # the person must choose another at the next sign-in


def set_password(house: House, credentials: Credentials, wanted: WantedPassword) -> Completed:
    """Change a user's password; every live code is used up and the user is told by mail.

    Raises:
        CallerError: whatever the table of SPEC 4 (SetPassword) says; nothing was changed then.
    """
    caller = authenticate(house, credentials)
    _check_ranges(wanted)
    user = house.directory.find_user(wanted.user_id) if wanted.user_id.isprintable() else None
    if wanted.verification_code is None and wanted.current_password is None:
        require_write(house, caller, user)
    with _words_of_this_call():
        person = check_may_reset(user, None)
        if wanted.verification_code is not None:
            return complete_reset(
                house,
                user_id=person.user_id,
                typed_code=wanted.verification_code,
                new_password=wanted.password,
                change_required=wanted.change_required,
            )
    if wanted.current_password is not None:
        _check_current_password(house, person, wanted.current_password)
    check_password(wanted.password, min_characters=house.settings.password_min_characters)
    return _change(house, person, wanted)


def _check_ranges(wanted: WantedPassword) -> None:
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


def _check_current_password(house: House, user: User, password: str) -> None:
    house.code_store.begin_password_try(user.user_id)
    if not house.directory.has_password(user, password):
        raise PasswordMismatchError
    house.code_store.forget_password_tries(user.user_id)


def _change(house: House, user: User, wanted: WantedPassword) -> Completed:
    house.directory.set_password(user, wanted.password, change_required=wanted.change_required)
    language = house.languages.choose(user.language)
    notice = make_notice(house, user, language=language)
    done = house.code_store.complete(user.user_id, reset_id="", token="", notice=notice)
    house.hints.publish(hint_at(notice.reset_id, Channel.EMAIL, Queue.URGENT))
    log.info("password.changed")
    if done is None:
        raise RuntimeError("completing without a code cannot lose a hold")
    return Completed(user, language, *done)
