"""Who the users are: what every directory promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.models import User


class Directory(Protocol):
    """Knows users and sets their passwords. Every method may raise DirectoryUnavailableError."""

    def find_user(self, user_id: str) -> User | None:
        """The user, or None when there is nobody by that id."""

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """What `find_user` gives for each, in one round trip where that is possible."""

    def find_users_by_address(self, address: str) -> list[User]:
        """Everybody who has this e-mail address or phone number, verified or not."""

    def set_password(self, user: User, password: str, *, change_required: bool = False) -> None:
        """Make `password` the user's password from now on; hashes it.

        `change_required`: the application that signs the person in must ask for another one. Kept
        until the next password is set.
        """

    def has_password(self, user: User, password: str) -> bool:
        """True when `password` is the user's present one."""
