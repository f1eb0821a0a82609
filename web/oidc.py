"""Know callers by an identity provider's JSON Web Tokens, verified by PyJWT.

Source: docs/decisions/0007-tokens-of-an-identity-provider.md
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeGuard
from urllib.parse import urlencode, urlsplit

import jwt
import structlog
from jwt.exceptions import PyJWTError
from jwt.types import Options
from jwt.utils import base64url_decode

from shared.errors import IssuerUnavailableError, ProviderError, TokenInvalidError
from shared.models import Caller
from shared.providers.transport.http import Transport
from shared.settings import Settings
from shared.settings.types import LOOPBACK
from shared.store import keys

log = structlog.get_logger()

MAX_TOKEN_CHARACTERS = 16_384
MAX_ID_CHARACTERS = 200
LEEWAY_SECONDS = 10.0  # by which the issuer's clock may be ahead of ours
TOKEN_TYPES = ("jwt", "at+jwt", "application/at+jwt", "application/jwt")
NO_VERSION = -1  # the token's roles do not depend on the callers in the store

# ZITADEL's claims: https://zitadel.com/docs/apis/openidoauth/claims
ROLES_CLAIM = "urn:zitadel:iam:org:project:roles"
PROJECT_ROLES_CLAIM = "urn:zitadel:iam:org:project:{project}:roles"
OWN_ORGANISATION_CLAIM = "urn:zitadel:iam:user:resourceowner:id"

# By key type or curve. Never none, never HMAC: a public key would be its secret.
ALGORITHMS_BY_KIND = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
ALGORITHMS = [name for names in ALGORITHMS_BY_KIND.values() for name in names]

CHECKS: Options = {
    "require": ["iss", "aud", "sub", "exp"],
    "enforce_minimum_key_length": True,
    "verify_iss": True,
    "verify_aud": True,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": False,  # nbf says from when on a token counts
}

FETCH_SECONDS = 5.0  # one request in whole; three of them for connecting
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 64
PAUSE_SECONDS = 5.0  # between two fetches, however many key ids are unknown
FRESH_SECONDS = 300.0  # after which keys are fetched again
STALE_SECONDS = 24 * 3600.0  # for which keys are used while the issuer does not answer
WAIT_SECONDS = 1.0  # for a fetch that another thread makes

_SIGNED = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # five parts would be encrypted


class Issuer:
    """Knows callers by the tokens of one issuer."""

    def __init__(self, settings: Settings, *, issuer_keys: IssuerKeys | None = None) -> None:
        self._name, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._known_roles = frozenset(role for role, _ in settings.role_permissions)
        self._max_seconds = settings.oidc_max_lifetime_seconds
        self._keys = issuer_keys or IssuerKeys(self._name)

    def find_caller(self, token: str) -> Caller:
        """Return the caller of a token.

        Raises:
            TokenInvalidError: it is not one of this issuer for this audience, at this time.
            IssuerUnavailableError: no keys are held and none can be had.
        """
        try:
            return self._caller(self._verify(token))
        except (PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise TokenInvalidError from error

    def _verify(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARACTERS or not _SIGNED.fullmatch(token):
            raise ValueError("no signed token")
        header, claims = (_read_part(part) for part in token.split(".")[:2])
        _check_header(header)
        if not {type(claims[name]) for name in {"exp", "nbf"} & claims.keys()} <= {int, float}:
            raise ValueError("a time is not a number")  # PyJWT also accepts texts
        decode = partial(
            jwt.decode,
            token,
            algorithms=ALGORITHMS,
            audience=self._audience,
            issuer=self._name,
            leeway=LEEWAY_SECONDS,
        )
        decode(options=CHECKS | {"verify_signature": False})  # tokens for others cause no fetch
        key = self._keys.find(header.get("kid"), header["alg"])
        return decode(key=key, options=CHECKS)

    def _caller(self, claims: dict[str, Any]) -> Caller:
        user_id, seconds_left = claims["sub"], claims["exp"] - time.time()
        if not _is_id(user_id) or seconds_left <= 0:  # PyJWT applies the leeway to exp, too
            raise ValueError("no subject, or expired")
        if claims["exp"] - _issued_at(claims) > self._max_seconds:
            raise ValueError("it lives longer than KEYTURN_OIDC_MAX_LIFETIME_SECONDS")
        roles = _org_roles(claims, project=self._audience, known=self._known_roles)
        own_org_id = claims.get(OWN_ORGANISATION_CLAIM)
        name = hashlib.sha256(f"{self._name}\0{user_id}".encode()).hexdigest()
        return Caller(
            token_id=f"jwt_{name[:24]}",
            org_id=own_org_id if _is_id(own_org_id) else next(iter(roles), ""),
            user_id=user_id,
            instance_roles=frozenset(),
            org_roles=roles,
            version=NO_VERSION,
            seconds_left=seconds_left,
        )


class IssuerKeys(jwt.PyJWKClient):
    """PyJWT's key client, which finds the key set by the issuer's discovery document.

    Its own cache and lock are not used: a held key is found without waiting, is fetched again in
    the background, and goes on while the issuer is away. Safe for threads: what is held is
    replaced as a whole.
    """

    def __init__(self, issuer: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns monotonic seconds."""
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        super().__init__(url, cache_jwk_set=False)
        self._issuer = issuer
        self._clock = clock
        self._fetching = threading.Lock()
        self._held: jwt.PyJWKSet | None = None
        self._fetched_at = self._tried_at = float("-inf")

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """Return the key of an id for an algorithm; without an id the only key is meant.

        Raises:
            PyJWKClientError: the issuer has no such key.
            IssuerUnavailableError: no keys are held and none can be had.
        """
        name, held = f"{algorithm} {key_id or ''}", self._find_held()
        if held is None or (key := self.match_kid(held.keys, name)) is None:
            key = self.match_kid(self.get_signing_keys(), name)
        elif self._age() >= FRESH_SECONDS and self._is_rested() and not self._fetching.locked():
            threading.Thread(target=self._refresh, name="issuer-keys", daemon=True).start()
        if key is None:
            raise jwt.PyJWKClientError("no key of the issuer has this id and algorithm")
        return key

    def fetch_data(self) -> jwt.PyJWKSet:
        """Return the issuer's keys; those held if it was asked a moment ago or does not answer.

        Raises:
            IssuerUnavailableError: no keys are held and none can be had.
        """
        self._refresh()
        if (held := self._find_held()) is None:
            raise IssuerUnavailableError
        return held

    def _find_held(self) -> jwt.PyJWKSet | None:
        return self._held if self._age() < STALE_SECONDS else None

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _is_rested(self) -> bool:
        return self._clock() - self._tried_at >= PAUSE_SECONDS

    def _refresh(self) -> None:
        """Fetch the keys unless a fetch has just ended; wait briefly for one in another thread."""
        if not self._fetching.acquire(timeout=WAIT_SECONDS):
            return
        try:
            if self._is_rested():
                self._load()
        except (ProviderError, PyJWTError, ValueError, RecursionError) as error:
            count = len(self._held.keys) if self._held else 0
            log.warning("issuer.unavailable", why=str(error), keys=count)
        finally:
            self._fetching.release()

    def _load(self) -> None:
        try:
            keys_url = find_endpoint(self._issuer, "jwks_uri")
            self._held = _read_keys(json.loads(fetch(keys_url)))
            self._fetched_at = self._clock()
        finally:
            self._tried_at = self._clock()


def open_issuer(settings: Settings) -> Issuer | None:
    """Return the issuer of the settings, if they name one."""
    return Issuer(settings) if settings.oidc_issuer else None


def looks_signed(token: str) -> bool:
    """Return True if the token may be an issuer's; our own have a prefix and no dots."""
    return token.count(".") > 1 and not token.startswith(keys.TOKEN_PREFIX)


def find_endpoint(issuer: str, name: str) -> str:
    """Return an address that the issuer's discovery document names.

    Raises:
        ProviderError, ValueError: the issuer does not answer, or the document is not sound.
    """
    description = json.loads(fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
    if not isinstance(description, dict) or description.get("issuer") != issuer:
        raise ValueError("the document describes another issuer")
    url = str(description.get(name))
    _check_url(url, issuer=issuer)
    return url


def _read_keys(document: Any) -> jwt.PyJWKSet:
    """Return the keys of a JSON Web Key Set that may verify signatures, for `IssuerKeys.find`.

    PyJWT ties a key to one algorithm (RS256 if an RSA key names none) and finds it by its id alone,
    so each key stands here once per algorithm, named by both; the only key also without its id.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("the document is no key set")
    usable = [(each, algorithms) for each in entries if (algorithms := _algorithms_of(each))]
    return jwt.PyJWKSet(
        [
            entry | {"alg": algorithm, "kid": f"{algorithm} {key_id}"}
            for entry, algorithms in usable
            for algorithm in algorithms
            for key_id in (entry.get("kid"), "" if len(usable) == 1 else None)
            if isinstance(key_id, str)
        ]
    )


def _algorithms_of(entry: Any) -> list[str]:
    """Return the algorithms that a key of a set may verify; none for a secret or private key."""
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return []
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return []
    known = ALGORITHMS_BY_KIND.get(str(entry.get("crv", entry.get("kty"))), ())
    return [name for name in known if entry.get("alg", name) == name]


def _check_url(url: str, *, issuer: str) -> None:
    """Raise ValueError unless the URL is https, or on loopback like the issuer."""
    parts = urlsplit(url)
    may_be_plain = urlsplit(issuer).scheme == "http" and parts.hostname in LOOPBACK
    is_sound = url.isascii() and url.isprintable() and not set(" @\\#") & set(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and may_be_plain)
    if not is_sound or not parts.hostname or not is_safe:
        raise ValueError("what an issuer names must be an https address")


def fetch(url: str, form: Mapping[str, str] | None = None) -> bytes:
    """Return the body of a 200 to a GET, or to a POST of a form; follow no redirect.

    Raises:
        ProviderError: there was no answer in time. ValueError: it is no whole, sound 200.
    """
    parts = urlsplit(url)
    transport = Transport(f"{parts.scheme}://{parts.netloc}", timeout_seconds=FETCH_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        headers = {"Accept": "application/json"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(form or {}).encode()
        answer = transport.call("POST" if body else "GET", target, headers=headers, body=body)
    finally:
        transport.close()
    if answer.status != HTTPStatus.OK or not answer.is_complete:
        raise ValueError(f"the answer was {answer.status}")
    if len(answer.body) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too large")
    return answer.body


def _check_header(header: dict[str, Any]) -> None:
    """Raise ValueError for a kind of token that is not accepted; keys in a header are not read."""
    kind = header.get("typ")
    if header.get("alg") not in ALGORITHMS:
        raise ValueError("an algorithm that is not accepted")
    if {"crit", "b64", "zip", "enc"} & header.keys() or header.get("cty") is not None:
        raise ValueError("a kind of token that is not accepted")
    if kind is not None and str(kind).lower() not in TOKEN_TYPES:
        raise ValueError("a type of token that is not accepted")


def _read_part(part: str) -> dict[str, Any]:
    """Decode a part of a token; refuse duplicate claims, which parsers read differently."""
    found = json.loads(base64url_decode(part).decode(), object_pairs_hook=_without_duplicates)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - the token's mistake
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _issued_at(claims: Mapping[str, Any]) -> float:
    """Return when a token was issued, in seconds; without a time that has passed, now."""
    issued, now = claims.get("iat"), time.time()
    return float(issued) if isinstance(issued, int | float) and 0 <= issued <= now else now


def _org_roles(
    claims: Mapping[str, Any], *, project: str, known: Collection[str]
) -> dict[str, frozenset[str]]:
    """Return the roles held in each organisation, in the claim's order.

    Roles apply only in the organisations they name, IAM roles included. The claim of our own
    project (the audience) has precedence over the general one; claims of other projects are
    ignored, because their owners name the roles. Unknown roles are left out.
    """
    claim = claims.get(PROJECT_ROLES_CLAIM.format(project=project), claims.get(ROLES_CLAIM))
    held: dict[str, frozenset[str]] = {}
    for role, organisations in claim.items() if isinstance(claim, dict) else ():
        if role in known and isinstance(organisations, dict):
            for org_id in filter(_is_id, organisations):
                held[org_id] = held.get(org_id, frozenset()) | {role}
    return held


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID_CHARACTERS and value.isprintable()
