"""The built-in directory: Keyturn keeps the users itself, in the store's server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis

from shared import validation
from shared.directories.passwords import Argon2Hasher, Hasher
from shared.directories.user_import import ImportReport, UserFields, import_users
from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.models import Channel, Recipient, User, UserKind, UserState
from shared.store import keys
from shared.store.connection import Client
from shared.store.digests import Digests

# All but the password, which is read only where it is compared.
FIELDS = ("orgId", "state", "kind", "userName", "displayName", "language",
          "email", "emailVerified", "phone", "phoneVerified", "changeRequired")  # fmt: skip
MAX_PER_TRIP = 100  # users; the server serves no other client meanwhile


class RedisDirectory:
    """Fulfils Directory; filled by `import_users`."""

    def __init__(self, client: Client, digests: Digests, *, hasher: Hasher | None = None) -> None:
        """`hasher` hashes and compares passwords; the default is argon2id."""
        self._client = client
        self._digests = digests
        self._hasher = hasher or Argon2Hasher()

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown. One round trip."""
        with directory_errors():
            self._digests.check()  # a store that lost its data knows nobody
            values = self._client.hmget(keys.directory_user(user_id), FIELDS)
        return _user(user_id, cast("list[str | None]", values))

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """Return what `find_user` returns for each id; one round trip per hundred."""
        found: list[User | None] = []
        with directory_errors():
            for first in range(0, len(user_ids), MAX_PER_TRIP):
                some = user_ids[first : first + MAX_PER_TRIP]
                pipe = self._client.pipeline(transaction=False)
                for user_id in some:
                    pipe.hmget(keys.directory_user(user_id), FIELDS)
                answers = pipe.execute()
                found += [_user(each, values) for each, values in zip(some, answers, strict=True)]
        return found

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not, by id."""
        normalised = validation.comparable(address)
        with directory_errors():
            index = keys.directory_address(self._digests.address_digest(normalised))
            user_ids = sorted(cast("set[str]", self._client.smembers(index)))
            found = self.find_users(user_ids)
        return [user for user in found if user is not None and normalised in _addresses(user)]

    def set_password(self, user: User, password: str, *, change_required: bool = False) -> None:
        """Hash and store the user's new password."""
        required = "1" if change_required else ""
        fields = {"password": self._hasher.hash(password), "changeRequired": required}
        with directory_errors():
            self._client.hset(keys.directory_user(user.user_id), mapping=dict[Any, Any](fields))

    def has_password(self, user: User, password: str) -> bool:
        """Return True if `password` is the user's present one; False if there is none."""
        with directory_errors():
            found = self._client.hget(keys.directory_user(user.user_id), "password")
        password_hash = cast("str | None", found)
        return bool(password_hash) and self._hasher.matches(str(password_hash), password)

    def import_users(self, lines: Iterable[str | bytes]) -> ImportReport:
        """Add or update users from JSON Lines: all of them, or none when any line is bad.

        Raises:
            ImportLineError: the first bad line, and what is wrong with it.
        """
        return import_users(self, lines)

    # Used by the import; each is one round trip for many users.

    def organisation_exists(self, org_id: str) -> bool:
        """Return True if the organisation exists."""
        with directory_errors():
            return bool(self._client.sismember(keys.ORGANISATIONS, org_id))

    def load_fields(self, user_ids: Sequence[str]) -> list[UserFields]:
        """Return the stored fields of each user; empty for new ones."""
        with directory_errors():
            pipe = self._client.pipeline(transaction=False)
            for user_id in user_ids:
                pipe.hgetall(keys.directory_user(user_id))
            return cast("list[UserFields]", pipe.execute())

    def save_fields(self, changes: Iterable[tuple[UserFields, UserFields]]) -> None:
        """Write users with their address index; each change is the old and the new fields.

        An address is indexed before the user's record has it, so a search never misses a user; it
        checks the record.
        """
        with directory_errors():
            pipe = self._client.pipeline(transaction=False)
            for old, new in changes:
                old_indexes, new_indexes = self._indexes(old), self._indexes(new)
                for index in new_indexes - old_indexes:
                    pipe.sadd(index, new["userId"])
                pipe.hset(keys.directory_user(new["userId"]), mapping=dict[Any, Any](new))
                for index in old_indexes - new_indexes:
                    pipe.srem(index, new["userId"])
            pipe.execute()

    def hash_password(self, password: str) -> str:
        """Hash a password."""
        return self._hasher.hash(password)

    def _indexes(self, fields: UserFields) -> set[str]:
        given = filter(None, (fields.get("email"), fields.get("phone")))
        return {keys.directory_address(self._digests.address_digest(each)) for each in given}


@contextmanager
def directory_errors() -> Iterator[None]:
    """Turn errors of Redis into DirectoryUnavailableError."""
    try:
        yield
    except (redis.RedisError, StoreUnavailableError) as error:
        raise DirectoryUnavailableError from error


def _user(user_id: str, values: Sequence[str | None]) -> User | None:
    if not values[0]:
        return None
    texts = (value or "" for value in values)  # in the order of FIELDS
    org_id, state, kind, name, display, language, email, email_ok, phone, phone_ok, change = texts
    return User(
        user_id=user_id,
        org_id=org_id,
        state=UserState(state) if state else UserState.ACTIVE,
        kind=UserKind(kind) if kind else UserKind.HUMAN,
        user_name=name,
        display_name=display,
        language=language or None,
        email=_recipient(Channel.EMAIL, email, email_ok),
        phone=_recipient(Channel.SMS, phone, phone_ok),
        must_change_password=bool(change),
    )


def _recipient(channel: Channel, address: str, verified: str) -> Recipient | None:
    return Recipient(channel, address, is_verified=bool(verified)) if address else None


def _addresses(user: User) -> list[str]:
    given = (user.email, user.phone)
    return [each.address.casefold() for each in given if each is not None]
