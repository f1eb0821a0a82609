"""The contract of a user directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.models import User


class Directory(Protocol):
    """Knows users and sets their passwords. Every method may raise DirectoryUnavailableError."""

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown."""

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """Return what `find_user` returns for each, in one round trip if possible."""

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not."""

    def set_password(self, user: User, password: str, *, change_required: bool = False) -> None:
        """Hash and store the user's new password.

        `change_required`: the application that signs the person in must ask for another one; kept
        until the next password is set.
        """

    def has_password(self, user: User | None, password: str) -> bool:
        """Return True if `password` is the user's present one.

        Without a user, or a password of the user, it takes as long.
        """
