"""Bounds of a directory that lives elsewhere: calls at once, threads, and a circuit of its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import Literal

import structlog

from shared import validation
from shared.directories import Directory
from shared.errors import DirectoryUnavailableError
from shared.models import User

log = structlog.get_logger()

CALLS_AT_ONCE = 8  # of one process; the SQL directory has as many connections
ANY_NUMBER = 1 << 20
MOMENT_SECONDS = 0.02  # in which a directory that is not slow answers some of those who wait
FAILURES_IN_A_ROW = 5
SHUT_SECONDS = 5.0  # then one call tries; as long as a worker waits before it looks again
MAX_IDENTIFIER_CHARACTERS = 320
BUSY = "Too many calls wait for the user directory; nothing was done, try again"


class Gate:
    """Lets a few calls through at a time, and none for a while after failures in a row.

    A call fails by raising DirectoryUnavailableError.
    """

    def __init__(self, *, wait_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`wait_seconds`: how long a call waits for its turn; `clock` counts seconds."""
        self._wait_seconds, self._clock = wait_seconds, clock
        self._slots, self._threads = BoundedSemaphore(CALLS_AT_ONCE), BoundedSemaphore(ANY_NUMBER)
        self._lock, self._failures, self._shut_until = Lock(), 0, 0.0

    def bound_threads(self, most: int) -> None:
        """Let so many threads call or wait at a time; refuse one more after a moment."""
        self._threads = BoundedSemaphore(most)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold a place for one call, which has a time limit of its own.

        Raises:
            DirectoryUnavailableError: there is no place, or the circuit is open.
        """
        self._pass_circuit()
        threads = self._threads
        if not threads.acquire(timeout=MOMENT_SECONDS):
            raise DirectoryUnavailableError(BUSY)
        try:
            if not self._slots.acquire(timeout=self._wait_seconds):
                raise DirectoryUnavailableError(BUSY)
            try:
                yield
            except DirectoryUnavailableError:
                self._note_failure()
                raise
            except BaseException:  # an answer too, whatever it says
                self._failures = 0
                raise
            else:
                self._failures = 0
            finally:
                self._slots.release()
        finally:
            threads.release()

    def _pass_circuit(self) -> None:
        with self._lock:
            if self._failures < FAILURES_IN_A_ROW:
                return
            now = self._clock()
            if now < self._shut_until:
                raise DirectoryUnavailableError
            self._shut_until = now + SHUT_SECONDS  # this call tries; others wait for its outcome

    def _note_failure(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._shut_until = self._clock() + SHUT_SECONDS
        if self._failures == FAILURES_IN_A_ROW:
            log.warning("directory.shut", seconds=SHUT_SECONDS)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check of a directory found; its text says what mends it, and names no address."""

    level: Literal["ok", "warning", "error", "away"]
    text: str


def describe_user(user: User) -> str:
    """Return what is known of a user, addresses masked."""
    shown = [f"{each.masked}{'' if each.is_verified else ' (not verified)'}"
             for each in (user.email, user.phone) if each]  # fmt: skip
    return ", ".join([user.user_id[:1] + "***", f"organisation {user.org_id}", user.state, *shown])


class OutsideDirectory(ABC):
    """What directories that live elsewhere have in common."""

    gate: Gate

    @abstractmethod
    def find_by_identifier(self, identifier: str, org_id: str | None) -> list[User]:
        """See Directory."""

    @abstractmethod
    def inspect(self, user_id: str = "", *, writes: bool = False) -> Iterator[Finding]:
        """Yield what is right and what is wrong with the directory; change nothing.

        `user_id` is the sample user; `writes`: try to write, and take it back.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections."""

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not."""
        wanted = validation.comparable(address)
        found = self.find_by_identifier(address, None)
        return [user for user in found if wanted in _addresses(user)]

    def forget_former_emails(self) -> None:
        """Return: these directories keep no former addresses."""
        return


def leave_threads(directory: Directory, threads: int) -> None:
    """Let a directory elsewhere hold three quarters of a process's threads at most.

    The others do what needs no user: callbacks, reports, webhooks, `/livez`.
    """
    if isinstance(directory, OutsideDirectory):
        directory.gate.bound_threads(max(1, threads * 3 // 4))


def read_identifier(text: str) -> str | None:
    """Return an identifier for comparison; None if it cannot be one."""
    wanted = validation.comparable(text)
    fits = 1 <= len(wanted) <= MAX_IDENTIFIER_CHARACTERS and wanted.isprintable()
    return wanted if fits else None


def choose_users(users: Iterable[User | None], wanted: str, org_id: str | None) -> list[User]:
    """Return the users of an organisation, or of all, who really have this identifier, by id."""
    found = {user.user_id: user for user in users if user is not None}
    return [
        user
        for _, user in sorted(found.items())
        if org_id in (None, user.org_id)
        and wanted in (*_addresses(user), validation.comparable(user.user_name))
    ]


def _addresses(user: User) -> list[str]:
    return [validation.address_key(each.address) for each in (user.email, user.phone) if each]


def is_id(text: str) -> bool:
    """Return True if a user can have this id."""
    with suppress(ValueError):
        return bool(validation.identity(text))
    return False


def refuse(why: str) -> DirectoryUnavailableError:
    """Log why a directory is as good as away; return the error to raise."""
    log.warning("directory.unavailable", why=why)
    return DirectoryUnavailableError()
