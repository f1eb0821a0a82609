"""Hide from the pages whether a user exists: the same steps, the same answers, the same time.

An unknown user id, or one whose user may not have a reset, takes the same steps as one without a
live code: a try is counted, and after too many the answer is the same 429. The tries of all such
ids are counted under a bounded number of decoys, so that invented ids fill no memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import TypeVar

from shared.codes import CODE_CHARACTERS, normalise
from shared.errors import (
    CallerError,
    CodeExpiredError,
    CodeUnusableError,
    MachineUserError,
    StoreUnavailableError,
    TooManyRequestsError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from web.passwords import Completed, complete_reset, find_link, request_fresh
from web.services import WebServices

# In place of a user id on the page of a short link: the reset, which is looked up when the form is
# posted. No user id contains a slash.
RESET_HANDLE = "r/"
DECOY_HANDLE = "decoy/"
DECOY_DIGITS = 4  # 65,536 decoys
MAX_USER_ID_CHARACTERS = 200
NO_SUCH_USER_ERRORS = (
    UserUnknownError,
    UserNotInitialisedError,
    MachineUserError,
    UserInactiveError,
)
PAGES_LIMIT = "pages"  # the limit's name when too many page requests wait
MIN_LINK_SECONDS = 0.02  # opening a link, where nothing is written
MIN_SECONDS = 0.25  # more than the slowest of the equalised paths takes on a busy machine

ResultT = TypeVar("ResultT")


def change_password(
    services: WebServices, *, handle: str, typed_code: str, new_password: str
) -> Completed:
    """Complete a reset for a user id, or for the handle of a short link.

    Raises:
        What complete_reset raises; CodeUnusableError in place of every error about the user.
    """
    user_id = _find_user_id(services, handle)
    try:
        return complete_reset(
            services, user_id=user_id, typed_code=typed_code, new_password=new_password
        )
    except NO_SUCH_USER_ERRORS as error:
        # The same steps as for a user without a live code, so the answers do not differ.
        decoy = DECOY_HANDLE + services.digests.digest("decoy", user_id)[:DECOY_DIGITS]
        services.code_store.begin_try(decoy)
        services.code_store.note_wrong(decoy)
        raise CodeUnusableError from error


def find_link_end(services: WebServices, *, handle: str, secret: str) -> CallerError | None:
    """Return why a link no longer works, to a reader who has its secret; else None.

    Typed codes are not looked up: opening pages is not counted, and they could be guessed so.
    Whether a secret is wrong, unknown or live takes the same time.
    """
    if len(normalise(secret)) <= CODE_CHARACTERS:
        return None
    ends_at = time.monotonic() + MIN_LINK_SECONDS
    try:
        known = find_link(services, _find_user_id(services, handle), secret)
    except StoreUnavailableError:
        return None
    if known is None or known.is_live:
        time.sleep(max(0.0, ends_at - time.monotonic()))
        return None
    if known.end:
        return CodeUnusableError(known.end, language=known.language)
    return CodeExpiredError(language=known.language)


def send_fresh(services: WebServices, *, handle: str, typed_code: str) -> None:
    """Request a fresh message for a user id, or for the handle of a short link.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: no reset can be recorded at present.
    """
    request_fresh(services, user_id=_find_user_id(services, handle), typed_code=typed_code)


def _find_user_id(services: WebServices, handle: str) -> str:
    """Return the user id that a handle means; an id that does not exist if there is none."""
    if handle.startswith(RESET_HANDLE):
        reset = services.resets.find(handle.removeprefix(RESET_HANDLE))
        return reset.user_id if reset else handle
    is_possible = len(handle) <= MAX_USER_ID_CHARACTERS and handle.isprintable()
    return handle if is_possible else DECOY_HANDLE


class UniformDelay:
    """Pads response times to a minimum, for a bounded number of requests at once.

    A slot is taken before anything is looked up, so that the refusal does not depend on the user.
    """

    def __init__(self, *, slots: int, min_seconds: float = MIN_SECONDS) -> None:
        """`slots` requests may wait here; the other threads stay free."""
        self._slots = BoundedSemaphore(slots)
        self._min_seconds = min_seconds

    def run(self, act: Callable[[], ResultT], *, only_refusals: bool = False) -> ResultT:
        """Call `act`; return its result or raise its error after the minimum time at the earliest.

        `only_refusals`: delay a CallerError, and nothing else.

        Raises:
            TooManyRequestsError: no slot is free; `act` was not called.
        """
        if not self._slots.acquire(blocking=False):
            raise TooManyRequestsError(PAGES_LIMIT, retry_after_seconds=1)
        ends_at, is_delayed = time.monotonic() + self._min_seconds, not only_refusals
        try:
            return act()
        except CallerError:
            is_delayed = True
            raise
        finally:
            if is_delayed:
                time.sleep(max(0.0, ends_at - time.monotonic()))
            self._slots.release()
