"""Make keyed hashes: all that is stored of an address or a user outside the directory.

The key of these hashes is made once and kept in Redis, sealed with the secret keys.
Source: docs/decisions/0003-sealed-digest-key.md
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from itertools import chain
from threading import Lock
from typing import cast

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared import codes
from shared.errors import SettingsError
from shared.models import Channel, Recipient, User
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.validation import folded

DIGEST_BYTES = 16
BASIS_CHARACTERS = 16  # of each half
PEPPER_BYTES = 32
SEAL_LABEL = b"keyturn digest key seal"

# The first process seals its own key; later ones read it.
SEAL_ONCE = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])
"""


class Digests:
    """Make keyed hashes and the ids that follow from them; load the key at the first use.

    Every method that needs the key may raise StoreUnavailableError at its first use, and
    SettingsError when none of our secret keys opens what this store has sealed.
    """

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
        self._lock = Lock()

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
            + folded(recipient.address)
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

    def user_place(self, user_id: str) -> tuple[str, str]:
        """Return the hash tag of a user's shard, and the user's digest."""
        user = self._hash("user", user_id)
        return keys.TAGS[user[0] % keys.SHARDS], user.hex()

    def new_reset_id(self, user_id: str) -> str:
        """Return a new id in the user's shard, with 128 random bits."""
        return self._reset_id(user_id, secrets.token_bytes(DIGEST_BYTES))

    def derived_reset_id(self, user_id: str, *parts: str) -> str:
        """Return an id that looks like a new one but is derived: same parts, same id."""
        text = "".join(f"{len(part)}:{part}" for part in (user_id, *parts))
        return self._reset_id(user_id, self._hash("reset id", text))

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
        key = derived.derive(self._pepper or self._load_pepper())
        return Fernet(base64.urlsafe_b64encode(key))

    @staticmethod
    def token_digest(token: str) -> str:
        """Return the digest of a token; its 256 random bits need no key."""
        return hashlib.sha256(token.encode(errors="replace")).hexdigest()

    def _reset_id(self, user_id: str, bits: bytes) -> str:
        shard = self._hash("user", user_id)[0] % keys.SHARDS
        return keys.ID_SIGNS[shard] + base64.b32encode(bits).decode().rstrip("=").lower()

    def _hash(self, kind: str, text: str) -> bytes:
        key = self._pepper or self._load_pepper()
        return hashlib.blake2b(
            text.encode(errors="surrogatepass"),
            key=key,
            digest_size=DIGEST_BYTES,
            person=kind.encode(),
        ).digest()

    def _load_pepper(self) -> bytes:
        with self._lock:
            if self._pepper is None:
                sealed = self._sealed()
                pepper = self._unseal(sealed)
                self._seal_for_missing_keys(pepper, sealed)
                self._pepper = pepper
            return self._pepper

    def _sealed(self) -> dict[str, str]:
        fresh = secrets.token_bytes(PEPPER_BYTES)
        offer = [(key_id, _seal(key, fresh)) for key_id, key in self._secret_keys.items()]
        with store_errors():
            reply = self._client.eval(SEAL_ONCE, 1, keys.SEAL, *chain.from_iterable(offer))
        flat = cast("list[str]", reply)
        return dict(zip(flat[::2], flat[1::2], strict=True))

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
