"""What the pages ask of the use cases, such that nobody learns who has an account.

A user id that nobody has, or whose user may not have a reset, goes the same steps as one without
a live code: a try is counted, and after too many the answer is the same 429. The tries of all such
ids are counted under a bounded number of decoys, so that inventing ids fills no memory.
"""

from __future__ import annotations

from typing import NoReturn

from shared.errors import (
    CodeUnusableError,
    MachineUserError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from web.completions import Completed, complete_reset, request_fresh
from web.house import House

# What stands for a user id on the page of a short link: the reset, looked up when the form comes
# back. No user id has a slash.
RESET_HANDLE = "r/"
DECOY_HANDLE = "decoy/"
DECOY_DIGITS = 4  # 65,536 decoys
MAX_USER_ID_CHARACTERS = 200
STRANGER_ERRORS = (
    UserUnknownError,
    UserNotInitialisedError,
    MachineUserError,
    UserInactiveError,
)


def change_password(house: House, *, handle: str, typed_code: str, new_password: str) -> Completed:
    """Complete a reset for a user id, or for the handle of a short link.

    Raises:
        What complete_reset raises; CodeUnusableError in place of all that speaks of the user.
    """
    user_id = _find_user_id(house, handle)
    try:
        return complete_reset(
            house, user_id=user_id, typed_code=typed_code, new_password=new_password
        )
    except STRANGER_ERRORS:
        _refuse_stranger(house, user_id)


def send_fresh(house: House, *, handle: str, typed_code: str) -> None:
    """Ask for a fresh message for a user id, or for the handle of a short link.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: nothing can be recorded for anybody now.
    """
    request_fresh(house, user_id=_find_user_id(house, handle), typed_code=typed_code)


def _find_user_id(house: House, handle: str) -> str:
    """The user id a page speaks of; one that nobody has where there is no such reset."""
    if handle.startswith(RESET_HANDLE):
        reset = house.resets.find(handle.removeprefix(RESET_HANDLE))
        return reset.user_id if reset else handle
    is_possible = len(handle) <= MAX_USER_ID_CHARACTERS and handle.isprintable()
    return handle if is_possible else DECOY_HANDLE


def _refuse_stranger(house: House, user_id: str) -> NoReturn:
    decoy = DECOY_HANDLE + house.digests.digest("decoy", user_id)[:DECOY_DIGITS]
    house.code_store.begin_try(decoy)
    house.code_store.note_wrong(decoy)
    raise CodeUnusableError
