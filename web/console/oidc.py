"""Sign in to the console by the identity provider: code flow with PKCE, a public client.

The session's token is the access token, judged like any other (web/oidc.py): no roles are added.

Source: https://www.rfc-editor.org/rfc/rfc9700
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from http import HTTPStatus
from urllib.parse import urlencode

from cryptography.fernet import InvalidToken
from flask import Response, request

from shared.errors import IssuerUnavailableError, NotFoundError, ProviderError, TokenInvalidError
from web.auth import looks_signed
from web.console.frame import console
from web.console.session import begin_session, cookie_name, set_cookie
from web.console.sign_in import welcome
from web.http import current_services
from web.services import WebServices

SECONDS = 600  # to sign in there
SUFFIX = "-oidc"  # of the cookie
SEALED_AS = "console sign-in"
RETURN = "/sign-in/oidc/return"


@console.get("/console/sign-in/oidc")
def begin_oidc() -> Response:
    """Lead to the issuer; a sealed cookie of ten minutes holds what its answer must fit."""
    services = _services()
    settings = services.settings
    state, verifier = secrets.token_urlsafe(16), secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    project = f"urn:zitadel:iam:org:project:id:{settings.oidc_audience}:aud"
    query = {
        "response_type": "code",
        "client_id": settings.oidc_client_id,
        "redirect_uri": _return_url(services),
        "scope": f"openid {project} urn:zitadel:iam:org:projects:roles",
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    try:
        from web.oidc import find_endpoint  # noqa: PLC0415 - with PyJWT

        where = find_endpoint(settings.oidc_issuer, "authorization_endpoint")
    except (ProviderError, ValueError) as error:
        raise IssuerUnavailableError from error
    location = f"{where}{'&' if '?' in where else '?'}{urlencode(query)}"
    response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location})
    sealed = services.digests.seal(SEALED_AS, json.dumps([state, verifier, time.time()]))
    # Lax: it comes back with the issuer's redirect.
    set_cookie(services, response, sealed, suffix=SUFFIX, max_age=SECONDS, samesite="Lax")
    return response


@console.get(f"/console{RETURN}")
def end_oidc() -> Response:
    """Exchange the issuer's code for a token and begin a session with it.

    Raises:
        TokenInvalidError: it fits nothing that this browser began, or the issuer refused.
        IssuerUnavailableError: the issuer does not answer.
    """
    services = _services()
    settings = services.settings
    try:
        sealed = request.cookies.get(cookie_name(settings) + SUFFIX, "")
        state, verifier, began = json.loads(services.digests.unseal(SEALED_AS, sealed))
    except (InvalidToken, ValueError) as error:
        raise TokenInvalidError from error
    is_own = hmac.compare_digest(state.encode(), request.args.get("state", "").encode())
    is_issuer = request.args.get("iss", settings.oidc_issuer) == settings.oidc_issuer  # RFC 9207
    code = request.args.get("code", "")
    if not (is_own and is_issuer and code) or time.time() - began > SECONDS:
        raise TokenInvalidError
    response = welcome(begin_session(_exchange(services, code, verifier), ""))
    set_cookie(services, response, "", suffix=SUFFIX, samesite="Lax")
    return response


def _exchange(services: WebServices, code: str, verifier: str) -> str:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": _return_url(services),
        "client_id": services.settings.oidc_client_id,
        "code_verifier": verifier,
    }
    try:
        from web.oidc import fetch, find_endpoint  # noqa: PLC0415 - with PyJWT

        where = find_endpoint(services.settings.oidc_issuer, "token_endpoint")
        answer = json.loads(fetch(where, form))
        tokens = [str(answer.get(name, "")) for name in ("access_token", "id_token")]
    except (ProviderError, ValueError, AttributeError) as error:
        raise IssuerUnavailableError from error
    return next(filter(looks_signed, tokens), "")  # access tokens may be of another kind


def _services() -> WebServices:
    """Return the services; raise NotFoundError unless the console has a client of an issuer."""
    services = current_services()
    if not services.settings.oidc_client_id:
        raise NotFoundError
    return services


def _return_url(services: WebServices) -> str:
    return f"{services.settings.link_base}/console{RETURN}"
