"""Make keyed hashes: all that is stored of an address or a user outside the directory.

The key of these hashes is made once and kept in Redis, sealed with the secret keys.
Source: docs/decisions/0003-sealed-digest-key.md
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from contextlib import suppress
from itertools import chain
from threading import Lock, Thread
from typing import cast

import structlog
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared import codes
from shared.errors import SettingsError, StoreUnavailableError
from shared.models import Channel, Recipient, User
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.validation import address_key

log = structlog.get_logger()

DIGEST_BYTES = 16
BASIS_CHARACTERS = 16  # of each half
VERIFY_SECONDS = 0.5
PEPPER_BYTES = 32
SEAL_LABEL = b"keyturn digest key seal"

# The first process seals its own key; later ones read it.
SEAL_ONCE = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])
"""


class Digests:
    """Make keyed hashes and the ids that follow from them; load the key at the first use.

    Every method that needs the key may raise StoreUnavailableError at its first use, or while the
    store holds another key or none (`verify`), and SettingsError when none of our secret keys opens
    what this store has sealed, or when the seal is gone and other data is not.
    """

    is_replaced = False  # the store lost its data, or is another one

    def __init__(self, client: Client, secret_keys: tuple[str, ...]) -> None:
        """`secret_keys`: any of them opens the digest key; all of them seal it."""
        if not secret_keys:
            raise SettingsError(
                "KEYTURN_SECRET_KEYS is not set, and the data directory holds no keys; run "
                "`keyturn up` once, or make a key with `openssl rand -hex 32`"
            )
        self._client = client
        self._secret_keys = {codes.key_id(key): key for key in secret_keys}
        self._pepper: bytes | None = None
        self._loaded = b""  # the same, once it was read, and what was read then
        self._seal: set[tuple[str, str]] = set()
        self._lock = Lock()

    def verify(self) -> None:
        """Raise StoreUnavailableError unless the store holds the digest key in use.

        If it does not, digests raise the same until it does again: a digest of another key would
        not find a suppressed address.
        """
        if not self._seal:
            return
        with store_errors():
            sealed = self._client.hgetall(keys.SEAL)
        was_replaced, self.is_replaced = self.is_replaced, self._seal.isdisjoint(sealed.items())
        self._pepper = None if self.is_replaced else self._loaded
        if self.is_replaced:
            if not was_replaced:
                log.error("store.replaced")
            raise StoreUnavailableError

    def check(self) -> bytes:
        """Return the digest key; raise StoreUnavailableError if `verify` did and still does."""
        return self._pepper or self._load_pepper()

    def watch(self) -> None:
        """Verify the key from now on, in a thread."""

        def run() -> None:
            while True:
                time.sleep(VERIFY_SECONDS)
                with suppress(StoreUnavailableError):
                    self.verify()

        Thread(target=run, name="seal", daemon=True).start()

    def digest(self, kind: str, text: str) -> str:
        """Return the keyed hash of a text, in hex; it depends on `kind` (at most 16 bytes)."""
        return self._hash(kind, text).hex()

    def address_digest(self, address: str) -> str:
        """Return the digest of a recipient's address; case does not matter."""
        return self.digest("address", address.casefold())

    def basis(self, user: User, recipient: Recipient | None) -> str:
        """Return what a code rests on: a digest of the user's part, one of the address's.

        `recipient` None: the code was sent nowhere, and rests on the user alone.
        Source: docs/decisions/0019-what-a-code-rests-on.md
        """
        of_user = f"{user.revision} {user.state} {user.kind} {user.org_id}"
        of_address = recipient and (
            f"{recipient.channel} {recipient.revision} {recipient.is_verified} "
            + address_key(recipient.address)
        )
        halves = (part and self.digest("basis", part) for part in (of_user, of_address))
        return ".".join((half or "")[:BASIS_CHARACTERS] for half in halves)

    def what_changed(self, basis: str | None, user: User, channel: Channel) -> str:
        """Return `user_changed` or `address_changed` if a code's basis did; else an empty text.

        A code without a basis was recorded before there were any: it rests on nothing.
        """
        of_user, _, of_address = (basis or "").partition(".")
        present = self.basis(user, user.recipient(channel) if of_address else None)
        is_same_user = present.startswith(f"{of_user}.")
        changed = "address_changed" if is_same_user else "user_changed"
        return changed if basis and basis != present else ""

    def still_reaches(self, basis: str, user: User, channel: Channel) -> bool:
        """Return True if the user still has the address that a code went to.

        A code that was sent nowhere reaches the user for as long as it rests on it.
        """
        of_address = basis.partition(".")[2]
        present = self.basis(user, user.recipient(channel)).partition(".")[2]
        return present == of_address if of_address else not self.what_changed(basis, user, channel)

    def user_place(self, user_id: str) -> tuple[str, str]:
        """Return the hash tag of a user's shard, and the user's digest."""
        user = self._hash("user", user_id).hex()
        return keys.tag_of_digest(user), user

    def new_reset_id(self, user_id: str) -> str:
        """Return a new id in the user's shard, with 128 random bits."""
        return self._reset_id(user_id, secrets.token_bytes(keys.ID_BYTES))

    def derived_reset_id(self, user_id: str, *parts: str) -> str:
        """Return an id that looks like a new one but is derived: same parts, same id."""
        text = "".join(f"{len(part)}:{part}" for part in (user_id, *parts))
        return self._reset_id(user_id, self._hash("reset id", text))

    def listed_reset_id(self, user: User, listing: str) -> str:
        """Return the id of a user's reset whose link stands in the mail of another user."""
        return self.derived_reset_id(user.user_id, "listed", listing)

    def seal(self, kind: str, text: str) -> str:
        """Encrypt a text with our secret keys; only the same `kind` decrypts it."""
        return self._box(kind).encrypt(text.encode()).decode()

    def unseal(self, kind: str, sealed: str) -> str:
        """Return the text that was sealed.

        Raises:
            InvalidToken: it was sealed in another store, or changed.
        """
        return self._box(kind).decrypt(sealed).decode()

    def _box(self, kind: str) -> Fernet:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=kind.encode())
        key = derived.derive(self.check())
        return Fernet(base64.urlsafe_b64encode(key))

    @staticmethod
    def token_digest(token: str) -> str:
        """Return the digest of a token; its 256 random bits need no key."""
        return hashlib.sha256(token.encode(errors="replace")).hexdigest()

    def _reset_id(self, user_id: str, bits: bytes) -> str:
        return keys.make_reset_id(self._hash("user", user_id)[0] % keys.SHARDS, bits)

    def _hash(self, kind: str, text: str) -> bytes:
        return hashlib.blake2b(
            text.encode(errors="surrogatepass"),
            key=self.check(),
            digest_size=DIGEST_BYTES,
            person=kind.encode(),
        ).digest()

    def _load_pepper(self) -> bytes:
        with self._lock:
            if self._seal:
                self.verify()
            else:
                sealed = self._sealed()
                self._loaded = self._unseal(sealed)
                self._seal_for_missing_keys(self._loaded, sealed)
                self._seal, self._pepper = set(sealed.items()), self._loaded
            return self._loaded

    def _sealed(self) -> dict[str, str]:
        fresh = secrets.token_bytes(PEPPER_BYTES)
        offer = [(key_id, _seal(key, fresh)) for key_id, key in self._secret_keys.items()]
        offer.append(keys.LAYOUT)
        with store_errors():
            is_used = self._client.exists(keys.VERSION)
            if is_used and not self._client.exists(keys.SEAL):
                raise SettingsError(
                    f"this store has data, and its digest key ({keys.SEAL}) is gone: restore it "
                    "(docs/operating.md, Redis lost its data)"
                )
            reply = self._client.eval(SEAL_ONCE, 1, keys.SEAL, *chain.from_iterable(offer))
        flat = cast("list[str]", reply)
        sealed = dict(zip(flat[::2], flat[1::2], strict=True))
        name, number = keys.LAYOUT
        if sealed.pop(name, None) != number:
            raise SettingsError(
                "this store was written by another version of Keyturn, which stores resets "
                "otherwise. Begin with an empty Redis, or data directory, and import users, tokens "
                "and suppressions again "
                "(docs/operating.md, Redis lost its data); or keep the former version"
            )
        return sealed

    def _unseal(self, sealed: dict[str, str]) -> bytes:
        for key_id, key in self._secret_keys.items():
            try:
                return _fernet(key).decrypt(sealed.get(key_id, ""))
            except InvalidToken:
                continue  # not sealed with this key: the next one may open it
        raise SettingsError(
            "KEYTURN_SECRET_KEYS holds none of the keys this store was used with "
            f"({', '.join(sorted(sealed))}); put the old key behind the new one: NEW,OLD"
        )

    def _seal_for_missing_keys(self, pepper: bytes, sealed: dict[str, str]) -> None:
        for key_id, key in self._secret_keys.items():
            if key_id not in sealed:
                with store_errors():
                    self._client.hsetnx(keys.SEAL, key_id, _seal(key, pepper))


def _seal(secret_key: str, pepper: bytes) -> str:
    return _fernet(secret_key).encrypt(pepper).decode()


def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=SEAL_LABEL)
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret_key.encode())))
