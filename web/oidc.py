"""Callers by tokens of an identity provider: JSON Web Tokens, verified here, never stored.

Source: docs/decisions/0007-tokens-of-an-identity-provider.md
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from shared.errors import IssuerUnavailableError, ProviderError, TokenInvalidError
from shared.models import Caller
from shared.providers.http import Transport
from shared.settings import Settings
from shared.settings.types import LOOPBACK
from shared.store import keys

ROLES_CLAIM = "urn:zitadel:iam:org:project:roles"
PROJECT_ROLES_CLAIM = "urn:zitadel:iam:org:project:{project}:roles"
OWN_ORGANISATION_CLAIM = "urn:zitadel:iam:user:resourceowner:id"
MAX_ORG_ID_CHARACTERS = 200


def org_roles(
    claims: Mapping[str, Any], *, project: str, known: Collection[str]
) -> dict[str, frozenset[str]]:
    """The roles held in each organisation, in the claim's order.

    Roles count in the organisations they name and nowhere else, IAM roles included. The claim of
    our own project (the audience) goes before the general one; those of other projects say nothing
    here, for whoever owns a project names its roles. Roles we do not know are left out.
    """
    claim = PROJECT_ROLES_CLAIM.format(project=project)
    told = claims[claim] if claim in claims else claims.get(ROLES_CLAIM)
    held: dict[str, frozenset[str]] = {}
    for role, organisations in told.items() if isinstance(told, dict) else ():
        if role in known and isinstance(organisations, dict):
            for org_id in filter(_is_id, organisations):
                held[org_id] = held.get(org_id, frozenset()) | {role}
    return held


def own_organisation(claims: Mapping[str, Any], roles: Mapping[str, frozenset[str]]) -> str:
    """The caller's own organisation; without a word of it, the first of its roles."""
    told = claims.get(OWN_ORGANISATION_CLAIM)
    return told if isinstance(told, str) and _is_id(told) else next(iter(roles), "")


def _is_id(text: str) -> bool:
    return 1 <= len(text) <= MAX_ORG_ID_CHARACTERS and text.isprintable()


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


log = structlog.get_logger()

FETCH_SECONDS = 5.0  # one request in whole; three of them for connecting
MAX_DOCUMENT_BYTES = 256 * 1024
PAUSE_SECONDS = 5.0  # between two fetches, whatever anybody asks for
FRESH_SECONDS = 300.0  # how late a withdrawn key may be noticed
STALE_SECONDS = 24 * 3600.0  # how long keys are believed whose issuer does not answer
WAIT_SECONDS = 1.0  # for a fetch that another thread makes

Fetch: TypeAlias = Callable[[str], bytes]


class IssuerKeys:
    """Keys by their id. Safe for threads: what is held is replaced as a whole."""

    def __init__(
        self,
        issuer: str,
        *,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` gives the body of a 200, tests pass their own; `clock` never goes back."""
        self._issuer = issuer
        self._fetch = fetch or fetch_document
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: Mapping[str | None, tuple[SigningKey, ...]] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def find(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """The keys that have this id; with None the only key, when there is but one.

        Raises:
            IssuerUnavailableError: no keys are held and none can be had.
        """
        age = self._clock() - self._fetched_at
        if age >= STALE_SECONDS:
            self._keys = {}
        found = self._held(key_id)
        if not found:
            self._refresh()
            found = self._held(key_id)
        elif age >= FRESH_SECONDS and self._may_fetch():
            threading.Thread(target=self._refresh, name="issuer-keys", daemon=True).start()
        if not found and not self._keys:
            raise IssuerUnavailableError
        return found

    def _held(self, key_id: str | None) -> tuple[SigningKey, ...]:
        keys = self._keys
        if key_id is not None:
            return keys.get(key_id, ())
        every = tuple(key for held in keys.values() for key in held)
        return every if len(every) == 1 else ()

    def _may_fetch(self) -> bool:
        """False while somebody fetches, and for a moment after."""
        is_rested = self._clock() - self._tried_at >= PAUSE_SECONDS
        return is_rested and not self._fetching.locked()

    def _refresh(self) -> None:
        """Fetch the keys, unless that was done a moment ago; others wait for it, but briefly."""
        if not self._fetching.acquire(timeout=WAIT_SECONDS):
            return
        try:
            if self._clock() - self._tried_at >= PAUSE_SECONDS:
                self._try_to_load()
        finally:
            self._fetching.release()

    def _try_to_load(self) -> None:
        try:
            self._keys = self._load()
            self._fetched_at = self._clock()
        except (ProviderError, ValueError) as error:
            log.warning("issuer.unavailable", why=str(error), keys=len(self._keys))
        finally:
            self._tried_at = self._clock()

    def _load(self) -> Mapping[str | None, tuple[SigningKey, ...]]:
        """The issuer's keys, by the document in which it describes itself.

        Raises:
            ProviderError, ValueError: they cannot be had, or are no such documents.
        """
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        description = _read_object(self._fetch(place))
        if description.get("issuer") != self._issuer:
            raise ValueError("the document describes another issuer")
        keys_url = description.get("jwks_uri")
        if not isinstance(keys_url, str):
            raise ValueError("the document names no keys")  # noqa: TRY004
        _check_place(keys_url, issuer=self._issuer)
        return read_keys(_read_object(self._fetch(keys_url)))


def _check_place(url: str, *, issuer: str) -> None:
    """Whether keys may come from there: encrypted, or on loopback from an issuer on loopback.

    Raises:
        ValueError: they may not.
    """
    parts = urlsplit(url)
    may_be_plain = urlsplit(issuer).scheme == "http" and parts.hostname in LOOPBACK
    is_sound = url.isascii() and url.isprintable() and not set(" @\\#") & set(url)
    if (
        not is_sound
        or not parts.hostname
        or not (parts.scheme == "https" or (parts.scheme == "http" and may_be_plain))
    ):
        raise ValueError("keys must come from an https address")


def fetch_document(url: str) -> bytes:
    """The body of a 200; follows no redirect.

    Raises:
        ProviderError: there was no answer in time. ValueError: it is no whole, sound 200.
    """
    parts = urlsplit(url)
    transport = Transport(f"{parts.scheme}://{parts.netloc}", timeout_seconds=FETCH_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        answer = transport.call("GET", target, headers={"Accept": "application/json"})
    finally:
        transport.close()
    if answer.status != 200 or not answer.is_complete:  # noqa: PLR2004
        raise ValueError(f"the answer was {answer.status}")
    if len(answer.body) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too large")
    return answer.body


def _read_object(document: bytes) -> dict[str, Any]:
    try:
        found = json.loads(document)
    except RecursionError as error:
        raise ValueError("the document is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("the document is no JSON object")  # noqa: TRY004 - no programmer's mistake
    return found


MAX_TOKEN_CHARACTERS = 16_384
MAX_ID_CHARACTERS = 200
LEEWAY_SECONDS = 10.0  # by which the issuer's clock may be ahead of ours
TOKEN_TYPES = (None, "JWT", "at+jwt", "application/at+jwt", "application/jwt")
NO_VERSION = -1  # what the token says does not change with the callers in the store

_SIGNED = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # five parts would be encrypted


class Issuer:
    """Knows callers by the tokens of one issuer."""

    def __init__(
        self,
        settings: Settings,
        *,
        issuer_keys: IssuerKeys | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives seconds since 1970."""
        self._name, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._known_roles = frozenset(role for role, _ in settings.role_permissions)
        self._keys = issuer_keys or IssuerKeys(self._name)
        self._now = now
        self._verifier = PyJWS(algorithms=sorted(ALGORITHMS))

    def find_caller(self, token: str) -> Caller:
        """The caller of a token.

        Raises:
            TokenInvalidError: it is not one of this issuer for this audience, at this time.
            IssuerUnavailableError: no keys are held and none can be had.
        """
        try:
            claims = self._verify(token)
            return self._caller(claims)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise TokenInvalidError from error

    def _verify(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARACTERS or not _SIGNED.fullmatch(token):
            raise ValueError("no signed token")
        header_part, payload_part, _ = token.split(".")
        header, claims = _read_part(header_part), _read_part(payload_part)
        algorithm, key_id = _read_header(header)
        self._check_claims(claims)
        for key in self._keys.find(key_id):
            if algorithm in key.algorithms:
                self._verifier.decode_complete(token, key=key.key, algorithms=[algorithm])
                return claims
        raise ValueError("no key of the issuer has this id and algorithm")

    def _check_claims(self, claims: dict[str, Any]) -> None:
        """Whether the claims are for us and now; the signature is looked at last, for it costs."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self._name or self._audience not in audiences:
            raise ValueError("another issuer or audience")
        now = self._now()
        if _moment(claims, "exp") <= now:
            raise ValueError("expired")
        if "nbf" in claims and _moment(claims, "nbf") > now + LEEWAY_SECONDS:
            raise ValueError("not yet valid")

    def _caller(self, claims: dict[str, Any]) -> Caller:
        user_id = claims.get("sub")
        is_id = isinstance(user_id, str) and 1 <= len(user_id) <= MAX_ID_CHARACTERS
        if not isinstance(user_id, str) or not is_id or not user_id.isprintable():
            raise ValueError("no subject")
        roles = org_roles(claims, project=self._audience, known=self._known_roles)
        name = hashlib.sha256(f"{self._name}\0{user_id}".encode()).hexdigest()
        return Caller(
            token_id=f"jwt_{name[:24]}",
            org_id=own_organisation(claims, roles),
            user_id=user_id,
            instance_roles=frozenset(),
            org_roles=roles,
            version=NO_VERSION,
            seconds_left=_moment(claims, "exp") - self._now(),
        )


def open_issuer(settings: Settings) -> Issuer | None:
    """The issuer of the settings, when they name one."""
    return Issuer(settings) if settings.oidc_issuer else None


def looks_signed(token: str) -> bool:
    """True for what may be a token of an issuer: our own have another beginning and no dots."""
    return token.count(".") > 1 and not token.startswith(keys.TOKEN_PREFIX)


def _read_header(header: dict[str, Any]) -> tuple[str, str | None]:
    """Algorithm and key id; whatever else it says about keys is not listened to."""
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError("no algorithm that is taken")
    if key_id is not None and not isinstance(key_id, str):
        raise ValueError("no key id")
    if {"crit", "b64", "zip", "enc"} & header.keys() or header.get("cty") is not None:
        raise ValueError("a kind of token that is not taken")
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in _LOWER_TYPES):
        raise ValueError("a type of token that is not taken")
    return algorithm, key_id


_LOWER_TYPES = {kind.lower() for kind in TOKEN_TYPES if kind}


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"no moment {name}")
    return float(value)


def _read_part(part: str) -> dict[str, Any]:
    """A part of a token, strictly: of two claims with one name readers would take either."""
    raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    found = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - the token's mistake
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("one name stands there twice")
    return found
