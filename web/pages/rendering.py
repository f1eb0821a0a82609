"""Render the pages, a form and a notice, in the reader's language."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flask import Response, render_template, request
from markupsafe import Markup

from shared.errors import StoreUnavailableError
from shared.languages import direction, gap, join
from shared.passwords.policy import PASSPHRASE_CHARACTERS, PasswordPolicy, policy_of
from shared.validation import MAX_PASSWORD_CHARACTERS
from web.pages.forms import Filled, make_token
from web.problems import choose_language
from web.services import WebServices

STYLE = (Path(__file__).parent.parent / "templates" / "page.css").read_text(encoding="utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'sha256-{STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error on the form: the key of its text, and the field it is about."""

    key: str
    status: int = 400
    field: str | None = None
    heading_key: str = "errors"


@dataclass(frozen=True, slots=True)
class PageNotice:
    """A page without a form, by the keys of its texts."""

    heading_key: str
    text_key: str
    status: int
    has_fresh_button: bool = False
    is_good: bool = False
    retry_after_seconds: int | None = None


def show_form(
    services: WebServices,
    filled: Filled,
    complaint: Complaint | None = None,
    *,
    policy: PasswordPolicy | None = None,
) -> Response:
    """Return the form for a new password; it keeps what was typed, except passwords.

    `policy` is the user's; without it the rules are those of the organisation in the link.
    """
    has_code_field = not filled.has_whole_code or (complaint and complaint.field == "code")
    policy = policy or _policy_of_link(services, filled)
    is_too_long = complaint and complaint.key == "too_long"
    return _show(
        services,
        "form.html",
        filled,
        status=complaint.status if complaint else 200,
        complaint=complaint,
        has_code_field=has_code_field,
        characters=MAX_PASSWORD_CHARACTERS if is_too_long else policy.min_characters,
        min_characters=policy.min_characters,
        needs=policy.needs if policy.min_characters < PASSPHRASE_CHARACTERS else (),
        passphrase_characters=PASSPHRASE_CHARACTERS,
    )


def _policy_of_link(services: WebServices, filled: Filled) -> PasswordPolicy:
    """Return the policy to show; the installation's where the link names no known organisation."""
    org_id = filled.org_id if filled.org_id.isprintable() else ""
    try:
        organisation = services.callers.find_organisation(org_id) if org_id else None
    except StoreUnavailableError:
        organisation = None
    return policy_of(services.settings, organisation)


def show_notice(
    services: WebServices, filled: Filled, notice: PageNotice, *, language: str | None = None
) -> Response:
    """Return a page without a form; `language` is the reset's, if it may be known."""
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
    **values: object,
) -> Response:
    shown_language = _language(services, language or filled.language)

    def translate(key: str, **placeholders: object) -> str:
        return services.languages.translate(shown_language, f"page.{key}", **placeholders)

    def join_needs(needs: tuple[str, ...]) -> str:
        return join(shown_language, (translate(f"need_{need}") for need in needs))

    base = urlsplit(services.settings.link_base).path
    page = render_template(
        template,
        translate=translate,
        join=join_needs,
        language=shown_language,
        direction=direction(shown_language),
        gap=gap(shown_language),
        style=Markup(STYLE),  # noqa: S704 - our own file
        brand=services.settings.email_from_name,
        action=f"{base}/ui/password/reset",
        script=f"{base}/ui/password/reveal.js",
        filled=filled,
        token=make_token(services.codes, filled.handle),
        **values,
    )
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Content-Language": shown_language,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Vary": "Accept-Language",
    }
    return Response(page, status, headers=headers, mimetype="text/html")


def _language(services: WebServices, known: str) -> str:
    """Return the language of the reset or of the link, else the browser's preferred one."""
    header = request.headers.get("Accept-Language")
    return choose_language(services.languages, header, first=known)
