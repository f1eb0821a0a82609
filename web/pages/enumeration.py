"""Hide from the pages whether a user exists: the same steps, the same answers, the same time.

An unknown user id, or one whose user may not have a reset, takes the same steps as one without a
live code: a try is counted, and after too many the answer is the same 429. The tries of all such
ids are counted under a bounded number of decoys, so that invented ids fill no memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import NoReturn, TypeVar

from shared.errors import (
    CallerError,
    CodeUnusableError,
    MachineUserError,
    TooManyRequestsError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from web.passwords import Completed, complete_reset, request_fresh
from web.services import WebServices

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


def change_password(
    services: WebServices, *, handle: str, typed_code: str, new_password: str
) -> Completed:
    """Complete a reset for a user id, or for the handle of a short link.

    Raises:
        What complete_reset raises; CodeUnusableError in place of all that speaks of the user.
    """
    user_id = _find_user_id(services, handle)
    try:
        return complete_reset(
            services, user_id=user_id, typed_code=typed_code, new_password=new_password
        )
    except STRANGER_ERRORS:
        _refuse_stranger(services, user_id)


def send_fresh(services: WebServices, *, handle: str, typed_code: str) -> None:
    """Ask for a fresh message for a user id, or for the handle of a short link.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: nothing can be recorded for anybody now.
    """
    request_fresh(services, user_id=_find_user_id(services, handle), typed_code=typed_code)


def _find_user_id(services: WebServices, handle: str) -> str:
    """The user id a page speaks of; one that nobody has where there is no such reset."""
    if handle.startswith(RESET_HANDLE):
        reset = services.resets.find(handle.removeprefix(RESET_HANDLE))
        return reset.user_id if reset else handle
    is_possible = len(handle) <= MAX_USER_ID_CHARACTERS and handle.isprintable()
    return handle if is_possible else DECOY_HANDLE


def _refuse_stranger(services: WebServices, user_id: str) -> NoReturn:
    decoy = DECOY_HANDLE + services.digests.digest("decoy", user_id)[:DECOY_DIGITS]
    services.code_store.begin_try(decoy)
    services.code_store.note_wrong(decoy)
    raise CodeUnusableError


ResultT = TypeVar("ResultT")

PACE_LIMIT = "pages"  # the limit's name where every place is taken
LEAST_SECONDS = 0.25  # well above what the slowest of the evened paths takes on a busy machine


class UniformDelay:
    """Stretches what is done to a fixed least time, for a bounded number of requests at once.

    A place is taken before anything is looked up, so that being turned away tells nothing either.
    """

    def __init__(self, *, places: int, least_seconds: float = LEAST_SECONDS) -> None:
        """`places`: how many requests may wait here; the other threads stay free."""
        self._places = BoundedSemaphore(places)
        self._least_seconds = least_seconds

    def even(self, act: Callable[[], ResultT]) -> ResultT:
        """What `act` gives or raises, never sooner than the least time.

        Raises:
            TooManyRequestsError: every place is taken; nothing was done.
        """
        began = self._enter()
        try:
            return act()
        finally:
            self._leave(began)

    def even_refusals(self, act: Callable[[], ResultT]) -> ResultT:
        """As `even`, but what `act` gives is given at once: only its refusals are alike."""
        began = self._enter()
        try:
            answer = act()
        except CallerError:
            self._leave(began)
            raise
        except BaseException:
            self._places.release()
            raise
        self._places.release()
        return answer

    def _enter(self) -> float:
        if not self._places.acquire(blocking=False):
            raise TooManyRequestsError(PACE_LIMIT, retry_after_seconds=1)
        return time.monotonic()

    def _leave(self, began: float) -> None:
        time.sleep(max(0.0, began + self._least_seconds - time.monotonic()))
        self._places.release()
