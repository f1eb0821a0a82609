"""Serve what is found by a well-known path: the identity provider, the security contact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, redirect
from werkzeug.wrappers import Response as BaseResponse

from shared.errors import NotFoundError
from shared.validation import format_timestamp
from web.http import current_services

discovery = Blueprint("discovery", __name__)

SECURITY_TXT_DAYS = 180  # RFC 9116 recommends less than a year


@discovery.get("/.well-known/openid-configuration")
def show_issuer() -> BaseResponse:
    """Lead to the issuer's document, so that a client signs in with Keyturn's address alone.

    Raises:
        NotFoundError: no issuer is set.
    """
    issuer = current_services().settings.oidc_issuer
    if not issuer:
        raise NotFoundError
    return redirect(f"{issuer.rstrip('/')}/.well-known/openid-configuration", 307)


@discovery.get("/.well-known/security.txt")
def show_security_contact() -> Response:
    """Return the contact for reports of weaknesses (RFC 9116).

    Raises:
        NotFoundError: no contact is set.
    """
    settings = current_services().settings
    if not settings.security_contact:
        raise NotFoundError
    expires = format_timestamp(datetime.now(UTC) + timedelta(days=SECURITY_TXT_DAYS))
    lines = (
        f"Contact: {settings.security_contact}",
        f"Expires: {expires}",
        f"Canonical: {settings.link_base}/.well-known/security.txt",
        "Preferred-Languages: en",
    )
    return Response("".join(f"{line}\n" for line in lines), mimetype="text/plain")
