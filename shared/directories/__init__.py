"""The contract of a user directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.models import User


class Directory(Protocol):
    """Knows users and sets their passwords. Every method may raise DirectoryUnavailableError.

    A code ends when what it rests on changes (docs/decisions/0019-what-a-code-rests-on.md). It is
    compared with what the directory returns at the moment of use; the revisions of User and
    Recipient also show a change that was undone. A directory that cannot count them leaves them
    empty.
    """

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown."""

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """Return what `find_user` returns for each, in one round trip if possible."""

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not."""

    def find_by_identifier(self, identifier: str, org_id: str | None) -> Sequence[User]:
        """Return whose e-mail address, phone number or user name this is, by id.

        `org_id`: in this organisation alone; None is in all. Case does not matter, nor the spelling
        of a number with its country. An identifier without users costs as many calls as one user's.
        """

    def set_password(
        self,
        user: User,
        password: str,
        *,
        change_required: bool = False,
        only_if: Callable[[User], bool] | None = None,
    ) -> User:
        """Hash and store the user's new password; return the user as it was just before.

        `change_required`: the application that signs the person in must ask for another one; kept
        until the next password is set.
        `only_if`: asked about the user as it is then, in one step with the writing where the
        directory can, else right before it. UserChangedError: it says no, or the user is gone.
        """

    def has_password(self, user: User | None, password: str) -> bool:
        """Return True if `password` is the user's present one.

        Without a user, or a password of the user, it takes as long.
        """

    def forget_former_emails(self) -> None:
        """Forget former addresses whose time is over; a periodic job."""
