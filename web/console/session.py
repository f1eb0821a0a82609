"""An operator's session: a sealed cookie that holds the token, and ends by itself."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import InvalidToken
from flask import Response, request

from shared.errors import InvalidRequestError
from shared.settings import Settings
from shared.settings.types import LOOPBACK
from web.auth import Credentials
from web.services import WebServices

IDLE_SECONDS = 30 * 60
LIFETIME_SECONDS = 12 * 3600
MAX_COOKIE_CHARACTERS = 3900  # browsers keep 4096 with the name and the attributes
SEALED_AS = "console session"
FORM = "console form"


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in, when, and what the next page is to say first."""

    token: str = field(repr=False)
    org_id: str  # the organisation in force; empty: the token's own
    name: str  # random: forms are tied to it
    began: float
    seen: float
    note: str = ""

    @property
    def credentials(self) -> Credentials:
        """Return what a call of the API would carry."""
        return Credentials(f"Bearer {self.token}", self.org_id or None)

    def form_token(self, services: WebServices) -> str:
        """Return the anti-forgery token of this session's forms."""
        return services.codes.sign(FORM, self.name)

    def owns_form(self, services: WebServices, token: str) -> bool:
        """Return True if a form with this token is one of this session."""
        return services.codes.verifies(FORM, self.name, token)


def begin_session(token: str, org_id: str) -> Session:
    """Return a session that begins now."""
    now = time.time()
    return Session(token, org_id, secrets.token_hex(8), now, now)


def read_session(services: WebServices) -> Session | None:
    """Return the session of the request's cookie; None if there is none or it has ended."""
    sealed = request.cookies.get(cookie_name(services.settings), "")
    try:
        session = Session(**json.loads(services.digests.unseal(SEALED_AS, sealed)))
    except (InvalidToken, ValueError, TypeError):
        return None
    now = time.time()
    is_over = now - session.seen > IDLE_SECONDS or now - session.began > LIFETIME_SECONDS
    return None if is_over else session


def seal_session(services: WebServices, session: Session) -> str:
    """Return the cookie of a session, used just now.

    Raises:
        InvalidRequestError: its token is too long for a cookie.
    """
    text = json.dumps(asdict(replace(session, seen=time.time())))
    sealed = services.digests.seal(SEALED_AS, text)
    if len(sealed) > MAX_COOKIE_CHARACTERS:
        raise InvalidRequestError("the token is too long for a cookie: have it name fewer roles")
    return sealed


def keep_session(services: WebServices, response: Response, session: Session | None) -> None:
    """Set the cookie; without a session, have the browser forget it."""
    set_cookie(services, response, seal_session(services, session) if session else "")


def set_cookie(
    services: WebServices, response: Response, value: str, *, suffix: str = "", **fields: Any
) -> None:
    """Set a cookie for this host alone; an empty value has the browser forget it."""
    name = cookie_name(services.settings)
    fields = {"samesite": "Strict", "max_age": None if value else 0} | fields
    is_secure = name.startswith("__Host-")
    response.set_cookie(name + suffix, value, secure=is_secure, httponly=True, **fields)


def cookie_name(settings: Settings) -> str:
    """Return the cookie's name.

    Browsers keep Secure cookies, which `__Host-` asks for, by https and from this machine alone.
    """
    parts = urlsplit(settings.link_base)
    is_kept = parts.scheme == "https" or parts.hostname in LOOPBACK
    return "__Host-keyturn-console" if is_kept else "keyturn-console"
