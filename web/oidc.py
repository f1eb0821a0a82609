"""Callers by tokens of an identity provider: JSON Web Tokens, verified here, never stored.

Source: docs/decisions/0007-tokens-of-an-identity-provider.md
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

from jwt import PyJWS
from jwt.exceptions import PyJWTError

from shared.errors import TokenInvalidError
from shared.models import Caller
from shared.settings import Settings
from shared.store import keys
from web.issuer_keys import IssuerKeys
from web.issuer_roles import org_roles, own_organisation
from web.signing_keys import ALGORITHMS

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
