"""Which keys of an issuer may verify, and with which algorithms: never none, never a shared secret.

A key decides the algorithms, not the token: a public key as the secret of an HMAC verifies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = RSA_ALGORITHMS | frozenset(CURVE_ALGORITHMS.values()) | {"EdDSA"}
MIN_RSA_BITS = 2048
MAX_KEYS = 64
PRIVATE_PART = "d"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and what may be verified with it."""

    key: Any = field(repr=False)
    algorithms: frozenset[str]


def read_keys(document: Mapping[str, Any]) -> dict[str | None, tuple[SigningKey, ...]]:
    """The usable keys of a JSON Web Key Set, by their ids; what cannot be used is left out.

    Raises:
        ValueError: that is no key set, or none of its keys can be used.
    """
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("the document is no key set")
    keys: dict[str | None, tuple[SigningKey, ...]] = {}
    for entry in entries:
        key = _read_key(entry) if isinstance(entry, dict) else None
        if key is not None:
            key_id = entry.get("kid") if isinstance(entry.get("kid"), str) else None
            keys[key_id] = (*keys.get(key_id, ()), key)
    if not keys:
        raise ValueError("the key set has no key that verifies signatures")
    return keys


def _read_key(entry: dict[str, Any]) -> SigningKey | None:
    operations = entry.get("key_ops", ["verify"])
    may_verify = isinstance(operations, list) and "verify" in operations
    is_for_signatures = entry.get("use", "sig") == "sig" and may_verify
    if not is_for_signatures or entry.get("kty") == "oct" or PRIVATE_PART in entry:
        return None
    try:
        key = PyJWK.from_dict(entry).key
    except (PyJWTError, ValueError, TypeError, KeyError, NotImplementedError):
        return None
    algorithms = _algorithms_of(key)
    if "alg" in entry:
        algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else frozenset()
    return SigningKey(key, algorithms) if algorithms else None


def _algorithms_of(key: Any) -> frozenset[str]:
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return RSA_ALGORITHMS
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset({CURVE_ALGORITHMS.get(key.curve.name, "")}) & ALGORITHMS
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return frozenset({"EdDSA"})
    return frozenset()
