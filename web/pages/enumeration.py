"""Hide from the pages whether a user exists: the same steps, the same answers, the same time.

An unknown user id, or one whose user may not have a reset, takes the same steps as one without a
live code: a try is counted toward its source, and after too many the answer is the same 429.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import TypeVar

from shared.codes import is_link_secret
from shared.errors import (
    CallerError,
    CodeExpiredError,
    CodeMismatchError,
    CodeUnusableError,
    MachineUserError,
    StoreUnavailableError,
    TooManyRequestsError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.models import User
from shared.policies import check_may_reset
from shared.store.codes import Guesser, KnownCode
from web.http import ClientSource
from web.passwords import Completed, check_code, find_held, request_fresh, use_code
from web.services import WebServices

# In place of a user id on the page of a short link: the reset, which is looked up when the form is
# posted. No user id contains a slash.
RESET_HANDLE = "r/"
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
# The same where no place to wait is free: more than it takes on a quiet machine.
MIN_SECONDS_WITHOUT_PLACE = 0.02
PLACES_OF_A_SOURCE = 2

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a form says, and where it comes from."""

    handle: str
    code: str = field(repr=False)
    source: ClientSource


def change_password(
    services: WebServices, delay: UniformDelay, visitor: Visitor, new_password: str
) -> Completed:
    """Complete a reset for a user id, or for the handle of a short link.

    Raises:
        What complete_reset raises; CodeMismatchError in place of every error about the user, and
        where no code is live.
    """
    guesser = Guesser(visitor.source.counted, visitor.source.cut)

    def check() -> tuple[User | None, KnownCode, Guesser | None]:
        user_id = _find_user_id(services, visitor.handle)
        user = _find_user(services, user_id)
        try:
            return user, *check_code(services, user_id, visitor.code, guesser)
        except CodeUnusableError as error:
            raise error if error.end else CodeMismatchError from error

    user, known, tried = delay.run(check, visitor)
    if user is None:
        raise CodeUnusableError("replaced")
    return use_code(services, user, known, tried, new_password)


def _find_user(services: WebServices, user_id: str) -> User | None:
    """Return the user; None if there is none, or none who may have a reset."""
    try:
        return check_may_reset(services.directory.find_user(user_id), None)
    except NO_SUCH_USER_ERRORS:
        return None


def find_link_end(services: WebServices, *, handle: str, secret: str) -> CallerError | None:
    """Return why a link no longer works, to a reader who has its secret; else None.

    Typed codes are not looked up: opening pages is not counted, and they could be guessed so.
    Whether a secret is wrong, unknown or live takes the same time.
    """
    if not is_link_secret(secret):
        return None
    ends_at = time.monotonic() + MIN_LINK_SECONDS
    try:
        known = find_held(services, _find_user_id(services, handle), secret)
    except StoreUnavailableError:
        return None
    if known is None or known.is_live:
        time.sleep(max(0.0, ends_at - time.monotonic()))
        return None
    if known.end:
        return CodeUnusableError(known.end, language=known.language)
    return CodeExpiredError(language=known.language)


def find_link_organisation(services: WebServices, *, reset_id: str, secret: str) -> str:
    """Return the organisation of a short link; empty unless it is one of ours."""
    if not services.codes.is_link_secret_of(reset_id, secret):
        return ""
    try:
        reset = services.resets.find(reset_id)
    except StoreUnavailableError:
        return ""
    return reset.org_id if reset else ""


def send_fresh(services: WebServices, delay: UniformDelay, visitor: Visitor) -> None:
    """Request a fresh message for a user id, or for the handle of a short link.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: no reset can be recorded at present.
        TooManyRequestsError: the source asks for too much at a time.
    """

    def ask() -> None:
        user_id, source = _find_user_id(services, visitor.handle), visitor.source.counted
        request_fresh(services, user_id=user_id, typed_code=visitor.code, source=source)

    delay.run(ask, visitor, only_refusals=False)


def _find_user_id(services: WebServices, handle: str) -> str:
    """Return the user id that a handle means; one that no user has if it means none."""
    is_reset = handle.startswith(RESET_HANDLE)
    reset = services.resets.find(handle.removeprefix(RESET_HANDLE)) if is_reset else None
    if reset or (len(handle) <= MAX_USER_ID_CHARACTERS and handle.isprintable()):
        return reset.user_id if reset else handle
    return RESET_HANDLE + services.digests.digest("handle", handle)


class UniformDelay:
    """Pads response times to a minimum, for a bounded number of requests at once.

    A request whose code is right waits for nothing. All others share the places to wait; a client
    has two of them, so that it cannot keep others from theirs.
    """

    def __init__(self, *, slots: int, min_seconds: float = MIN_SECONDS) -> None:
        """`slots` requests may wait here; the other threads stay free."""
        self._slots = BoundedSemaphore(slots)
        self._min_seconds = min_seconds
        self._inside: Counter[str] = Counter()  # by source
        self._lock = Lock()

    def run(
        self, act: Callable[[], ResultT], visitor: Visitor, *, only_refusals: bool = True
    ) -> ResultT:
        """Call `act`; return its result or raise its error after the minimum time at the earliest.

        `only_refusals`: delay a CallerError, and nothing else. A code that was right, though it
        has ended, is not delayed either: who knows it learns nothing.

        Raises:
            TooManyRequestsError: the source has as many requests here as it may, and `act` was not
                called; or no place is free to wait with a refusal.
        """
        began, name = time.monotonic(), visitor.source.counted
        with self._lock:
            if self._inside[name] >= PLACES_OF_A_SOURCE and not is_link_secret(visitor.code):
                raise TooManyRequestsError(PAGES_LIMIT, retry_after_seconds=1)
            self._inside[name] += 1
        try:
            result = act()
        except (CodeUnusableError, CodeExpiredError):
            raise
        except CallerError as error:
            if not self._wait(began, name):
                raise TooManyRequestsError(PAGES_LIMIT, retry_after_seconds=1) from error
            raise
        else:
            if not only_refusals:
                self._wait(began, name)
            return result
        finally:
            with self._lock:
                self._inside[name] -= 1
                self._inside += Counter()  # forget sources with none

    def _wait(self, began: float, name: str) -> bool:
        """Wait in a place; return False if none is free, after a shorter time."""
        has_share = self._inside[name] <= PLACES_OF_A_SOURCE
        has_place = has_share and self._slots.acquire(blocking=False)
        shortest = min(self._min_seconds, MIN_SECONDS_WITHOUT_PLACE)
        ends_at = began + (self._min_seconds if has_place else shortest)
        time.sleep(max(0.0, ends_at - time.monotonic()))
        if has_place:
            self._slots.release()
        return has_place
