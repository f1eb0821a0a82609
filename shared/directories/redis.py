"""The built-in directory: Keyturn keeps the users itself, in the store's server."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis

from shared import validation
from shared.directories.passwords import Argon2Hasher, Hasher
from shared.directories.user_import import (
    ImportReport,
    UserFields,
    import_users,
    new_revision,
)
from shared.errors import DirectoryUnavailableError, StoreUnavailableError, UserChangedError
from shared.models import Channel, Recipient, User, make_user
from shared.store import keys
from shared.store.connection import Client
from shared.store.digests import Digests

# All but the password, which is read only where it is compared. What every user has is stored by a
# short name: a million users are 45 MB smaller.
NAMES = {"o": "orgId", "n": "userName", "d": "displayName", "e": "email", "v": "emailVerified",
         "r": "revision", "er": "emailRevision"}  # fmt: skip
STORED = {name: stored for stored, name in NAMES.items()}
FIELDS = (*NAMES, "state", "kind", "language", "phone", "phoneVerified", "changeRequired",
          "phoneRevision", "formerEmails")  # fmt: skip
MAX_PER_TRIP = 100  # users; the server serves no other client meanwhile
FORMER_EMAILS_SECONDS = 24 * 3600.0  # or as long as a code lives; a notice waits no longer
FORGET_EVERY_SECONDS = 60.0


class RedisDirectory:
    """Fulfils Directory; filled by `import_users`."""

    def __init__(
        self,
        client: Client,
        digests: Digests,
        *,
        hasher: Hasher | None = None,
        code_lifetime_seconds: float = 0,
    ) -> None:
        """`hasher` hashes and compares passwords; the default is argon2id."""
        self._client = client
        self._digests = digests
        self._hasher = hasher or Argon2Hasher()
        self.keep_former_seconds = max(FORMER_EMAILS_SECONDS, code_lifetime_seconds)
        self._forget_at = 0.0

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown. One round trip."""
        with directory_errors():
            self._digests.check()  # a store that lost its data knows nobody
            values = self._client.execute_command("HMGET", keys.directory_user(user_id), *FIELDS)
        return self._user(user_id, cast("list[str | None]", values))

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
                found += map(self._user, some, answers)
        return found

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not, by id."""
        normalised = validation.comparable(address)
        with directory_errors():
            user_ids = self.find_holders(normalised)
            found = self.find_users(user_ids)
        return [user for user in found if user is not None and normalised in _addresses(user)]

    def find_by_identifier(self, identifier: str, org_id: str | None) -> list[User]:
        """Return whose e-mail address, phone number or user name this is, by id. Two round trips.

        Names and addresses share one index; the user's record says whose it is.
        """
        normalised = validation.comparable(identifier)
        with directory_errors():
            user_ids = self.find_holders(normalised)
            found = self.find_users(user_ids or [""])  # unknown ones cost a second trip too
        return [
            user
            for user in found
            if user is not None
            and org_id in (None, user.org_id)
            and normalised in (*_addresses(user), validation.comparable(user.user_name))
        ]

    def set_password(
        self,
        user: User,
        password: str,
        *,
        change_required: bool = False,
        only_if: Callable[[User], bool] | None = None,
    ) -> User:
        """Hash and store the user's new password; return the user as it was just before.

        A change between `only_if` and the writing makes the write fail, and it is asked again.
        """
        key, required = keys.directory_user(user.user_id), "1" if change_required else ""
        fields = {"password": self._hasher.hash(password), "changeRequired": required}

        def write(pipe: Any) -> User:
            now = self._user(user.user_id, pipe.hmget(key, FIELDS))
            if now is None or (only_if and not only_if(now)):
                raise UserChangedError
            pipe.multi()
            pipe.hset(key, mapping=_stored(fields | {"revision": new_revision()}))
            return now

        with directory_errors():
            return cast("User", self._client.transaction(write, key, value_from_callable=True))

    def has_password(self, user: User | None, password: str) -> bool:
        """Return True if `password` is the user's present one; no user takes the same steps."""
        with directory_errors():
            user_id = user.user_id if user else ""  # nobody's
            found = self._client.hget(keys.directory_user(user_id), "password")
        return self._hasher.matches(cast("str | None", found), password)

    def import_users(self, lines: Iterable[str | bytes]) -> ImportReport:
        """Add or update users from JSON Lines: all of them, or none when any line is bad.

        Raises:
            ImportLineError: the first bad line, and what is wrong with it.
        """
        return import_users(self, lines)

    def forget_former_emails(self) -> None:
        """Forget former addresses whose time is over; a periodic job."""
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_EVERY_SECONDS
        now_ms = int(time.time() * 1000)

        def forget(pipe: Any) -> None:
            due = pipe.zrangebyscore(keys.FORMER_EMAILS, "-inf", now_ms, 0, MAX_PER_TRIP)
            found = [_named(pipe.hgetall(keys.directory_user(user_id))) for user_id in due]
            pipe.multi()
            for user_id, old in zip(due, found, strict=True):
                for index, rest in self._indexes(old) - self._indexes(old | {"formerEmails": ""}):
                    pipe.srem(index, rest + user_id)
                pipe.hdel(keys.directory_user(user_id), "formerEmails")
                pipe.zrem(keys.FORMER_EMAILS, user_id)

        with directory_errors():
            self._client.transaction(forget, keys.FORMER_EMAILS)

    # What leaves: see ErasingDirectory.

    def remove_user(self, user_id: str) -> bool:
        """Remove a user and its index entries; return False if the id is unknown."""
        key = keys.directory_user(user_id)

        def remove(pipe: Any) -> bool:
            old = _named(pipe.hgetall(key))
            pipe.multi()
            for index, rest in self._indexes(old):
                pipe.srem(index, rest + user_id)
            pipe.srem(keys.members(old.get("orgId", "")), user_id)
            pipe.zrem(keys.FORMER_EMAILS, user_id)
            pipe.delete(key)
            return bool(old)

        with directory_errors():
            return cast("bool", self._client.transaction(remove, key, value_from_callable=True))

    def remove_address(self, user_id: str, address: str) -> bool:
        """Remove an address, present or former, from a user; return False if the user has not it.

        A name that is the address goes, too.
        """
        key, wanted = keys.directory_user(user_id), validation.comparable(address)

        def remove(pipe: Any) -> bool:
            old = _named(pipe.hgetall(key))
            new = _without_address(old, wanted)
            pipe.multi()
            if new:
                pipe.hset(key, mapping=_stored(new))
            for index, rest in self._indexes(old) - self._indexes(old | new):
                pipe.srem(index, rest + user_id)
            return bool(new)

        with directory_errors():
            return cast("bool", self._client.transaction(remove, key, value_from_callable=True))

    def find_holders(self, address: str) -> list[str]:
        """Return the ids of users who have an address, or had it a while ago."""
        with directory_errors():
            index, rest = self._place(validation.comparable(address))
            found = cast("set[str]", self._client.smembers(index))
        return sorted(each.removeprefix(rest) for each in found if each.startswith(rest))

    def list_members(self, org_id: str) -> Iterator[str]:
        """Yield the ids of an organisation's users."""
        with directory_errors():
            self._index_members(org_id)
            yield from cast("Iterator[str]", self._client.sscan_iter(keys.members(org_id)))

    def count_members(self, org_id: str) -> int:
        """Return how many users an organisation has."""
        with directory_errors():
            self._index_members(org_id)
            return cast("int", self._client.scard(keys.members(org_id)))

    def _index_members(self, org_id: str) -> None:
        """List the users of an organisation that was added before its users were listed; once."""
        if self._client.hget(keys.organisation(org_id), "members"):
            return
        prefix = keys.directory_user("")
        for name in self._client.scan_iter(match=f"{prefix}*", count=1000):
            if self._client.hget(name, STORED["orgId"]) == org_id:
                self._client.sadd(keys.members(org_id), name.removeprefix(prefix))
        self._client.hset(keys.organisation(org_id), "members", "1")

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
            return [_named(each) for each in pipe.execute()]

    def save_fields(self, changes: Iterable[tuple[UserFields, UserFields]]) -> None:
        """Write users with their index; each change is the old fields and what is written.

        An address is indexed before the user's record has it, so a search never misses a user; it
        checks the record.
        """
        forget_ms = int((time.time() + self.keep_former_seconds) * 1000)
        with directory_errors():
            pipe = self._client.pipeline(transaction=False)
            for old, new in changes:
                user_id = new["userId"]
                old_indexes, new_indexes = self._indexes(old), self._indexes(old | new)
                for index, rest in new_indexes:
                    pipe.sadd(index, rest + user_id)
                if "formerEmails" in new:
                    pipe.zadd(keys.FORMER_EMAILS, {user_id: forget_ms})
                if old.get("orgId") != new.get("orgId", old.get("orgId")):
                    pipe.srem(keys.members(old.get("orgId", "")), user_id)
                    pipe.sadd(keys.members(new["orgId"]), user_id)
                pipe.hset(keys.directory_user(user_id), mapping=dict[Any, Any](_stored(new)))
                for index, rest in old_indexes - new_indexes:
                    pipe.srem(index, rest + user_id)
            pipe.execute()

    def is_password(self, hashed: str, password: str) -> bool:
        """Return True if a password is the one that was hashed."""
        return self._hasher.matches(hashed, password)

    def hash_password(self, password: str) -> str:
        """Hash a password."""
        return self._hasher.hash(password)

    def _user(self, user_id: str, values: Sequence[str | None]) -> User | None:
        fields = _named(dict(zip(FIELDS, (value or "" for value in values), strict=True)))
        if not fields["orgId"]:
            return None
        former = json.loads(fields["formerEmails"] or "[]")
        since_ms = (time.time() - self.keep_former_seconds) * 1000
        kept = (Recipient(Channel.EMAIL, address, is_verified=bool(verified))
                for at_ms, verified, address in former if at_ms > since_ms)  # fmt: skip
        return make_user(fields | {"userId": user_id}, former_emails=tuple(kept))

    def _place(self, identifier: str) -> tuple[str, str]:
        """Return the index with an address or a name, and what its users' ids stand behind."""
        digest = bytes.fromhex(self._digests.address_digest(identifier))
        signs = base64.b32encode(digest).decode().lower()
        return keys.directory_address(signs[:3]), signs[3:12]

    def _indexes(self, fields: UserFields) -> set[tuple[str, str]]:
        former = [each[2] for each in json.loads(fields.get("formerEmails") or "[]")]
        given = {fields.get("email"), fields.get("phone"), *former}
        given.add(validation.comparable(fields.get("userName", "")))
        return {self._place(each) for each in given if each}


def _stored(fields: UserFields) -> UserFields:
    """Return fields as they are stored: the key has the id."""
    return {STORED.get(name, name): value for name, value in fields.items() if name != "userId"}


def _named(stored: UserFields) -> UserFields:
    return {NAMES.get(name, name): value for name, value in stored.items()}


@contextmanager
def directory_errors() -> Iterator[None]:
    """Turn errors of Redis into DirectoryUnavailableError."""
    try:
        yield
    except (redis.RedisError, StoreUnavailableError) as error:
        raise DirectoryUnavailableError from error


def _without_address(old: UserFields, wanted: str) -> UserFields:
    """Return the fields that change when a user loses an address; none if it has not got it."""
    new: UserFields = {}
    for name in ("email", "phone"):
        if validation.address_key(old.get(name, "")) == wanted:
            new |= {name: "", f"{name}Verified": "", f"{name}Revision": new_revision()}
    former = json.loads(old.get("formerEmails") or "[]")
    kept = [each for each in former if validation.address_key(each[2]) != wanted]
    if new or kept != former:
        new["formerEmails"] = json.dumps(kept) if kept else ""
    for name in ("userName", "displayName"):
        if validation.address_key(old.get(name, "")) == wanted:
            new[name] = ""
    return new


def _addresses(user: User) -> list[str]:
    given = (user.email, user.phone)
    return [validation.address_key(each.address) for each in given if each is not None]
