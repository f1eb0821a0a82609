"""Render the pages, a form and a notice, in the reader's language."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flask import Response, render_template, request
from markupsafe import Markup

from shared.policies import MAX_PASSWORD_CHARACTERS
from web.pages.forms import Filled, make_token
from web.problems import choose_language
from web.services import WebServices

STYLE = (Path(__file__).parent.parent / "templates" / "page.css").read_text(encoding="utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why the form is shown again: a sentence, and the field it speaks of."""

    key: str
    status: int = 400
    field: str | None = None
    heading_key: str = "errors"


@dataclass(frozen=True, slots=True)
class PageNotice:
    """A page without a form, by the names of its sentences."""

    heading_key: str
    text_key: str
    status: int
    has_fresh_button: bool = False
    is_good: bool = False
    retry_after_seconds: int | None = None


def show_form(
    services: WebServices, filled: Filled, complaint: Complaint | None = None
) -> Response:
    """The form for a new password; what was typed stays, but never a password."""
    has_code_field = not filled.has_whole_code or (complaint and complaint.field == "code")
    return _show(
        services,
        "form.html",
        filled,
        status=complaint.status if complaint else 200,
        complaint=complaint,
        has_code_field=has_code_field,
        characters=_characters(services, complaint),
        least_characters=services.settings.password_min_characters,
    )


def show_notice(
    services: WebServices, filled: Filled, notice: PageNotice, *, language: str | None = None
) -> Response:
    """A short page; `language` is the reset's, where it may be known."""
    response = _show(
        services, "notice.html", filled, status=notice.status, notice=notice, language=language
    )
    if notice.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(notice.retry_after_seconds)
    return response


def _show(
    services: WebServices,
    template: str,
    filled: Filled,
    *,
    status: int,
    language: str | None = None,
    **facts: object,
) -> Response:
    shown_language = language or _language(services, filled)

    def say(key: str, **values: object) -> str:
        return services.languages.say(shown_language, f"page.{key}", **values)

    base = urlsplit(services.settings.link_base).path
    page = render_template(
        template,
        say=say,
        language=shown_language,
        style=Markup(STYLE),  # noqa: S704 - our own file
        brand=services.settings.email_from_name,
        action=f"{base}/ui/password/reset",
        filled=filled,
        token=make_token(services.codes, filled.handle),
        **facts,
    )
    return Response(page, status, headers=_headers(shown_language), mimetype="text/html")


def _headers(language: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Content-Language": language,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Vary": "Accept-Language",
    }


def _language(services: WebServices, filled: Filled) -> str:
    """The language the link names, else the one the browser likes best."""
    if filled.language in services.languages.tags:
        return filled.language
    return choose_language(services.languages, request.headers.get("Accept-Language"))


def _characters(services: WebServices, complaint: Complaint | None) -> int:
    if complaint and complaint.key == "too_long":
        return MAX_PASSWORD_CHARACTERS
    return services.settings.password_min_characters
