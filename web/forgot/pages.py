"""Serve the page of a forgotten password; it needs no token."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from shared.errors import (
    CallerError,
    CaptchaError,
    CaptchaUnavailableError,
    IdentifierError,
    InvalidRequestError,
    StoreUnavailableError,
    TooManyRequestsError,
)
from shared.tracing import bind_context
from shared.validation import MAX_IDENTIFIER_CHARACTERS
from web.forgot.captcha import Captcha
from web.forgot.service import ask, organisation_of
from web.http import client_source, current_services
from web.pages.enumeration import UniformDelay, Visitor
from web.pages.errors import show_fault
from web.pages.forms import OWN_SITES, read_fields, read_filled
from web.pages.rendering import Complaint, show_forgot_form, show_notice
from web.pages.routes import FRESH, UNIFORM_DELAY

forgot = Blueprint("forgot", __name__)

CAPTCHA = "keyturn.captcha"
SCRIPT = (Path(__file__).parent.parent / "templates" / "altcha.js").read_text(encoding="utf-8")
RETRY_SECONDS = 5
TOO_MANY = 429
FOREIGN = Complaint("form_too_old_fresh", heading_key="forgot_errors")
COMPLAINTS: dict[type[CallerError], Complaint] = {
    IdentifierError: Complaint("forgot_invalid", 400, "identifier", "forgot_errors"),
    CaptchaError: Complaint("captcha_failed", 400, None, "forgot_errors"),
    TooManyRequestsError: Complaint("too_many_requests", 429, None, "too_many_requests_heading"),
    StoreUnavailableError: Complaint("too_many_requests", 503, None, "unavailable_heading"),
    CaptchaUnavailableError: Complaint("too_many_requests", 503, None, "unavailable_heading"),
}


@forgot.get("/ui/password/forgot")
@forgot.get("/ui/password/forgot/<org_id>")
def open_forgot_page(org_id: str | None = None) -> Response:
    """Show the form; nothing is looked up."""
    return _show(_told(org_id, request.args.to_dict()))


@forgot.post("/ui/password/forgot")
@forgot.post("/ui/password/forgot/<org_id>")
def ask_by_form(org_id: str | None = None) -> Response:
    """Ask for a message; the page is the same for everybody."""
    told = _told(org_id, read_fields())
    if not _is_own_form():
        return _show(told, FOREIGN)
    widget = current_captcha().widget
    try:
        solution = told.get(widget.field, "") if widget else ""
        ask_here(told.get("identifier", ""), told["orgID"], solution)
    except tuple(COMPLAINTS) as error:
        complaint = COMPLAINTS[type(error)]
        response = _show(told, complaint)
        if complaint.status >= TOO_MANY:
            seconds = getattr(error, "retry_after_seconds", RETRY_SECONDS)
            response.headers["Retry-After"] = str(seconds)
        return response
    return show_notice(current_services(), read_filled(told), FRESH)


@forgot.get("/ui/password/altcha.js")
def read_solver() -> Response:
    """Return the script that solves Altcha's proof of work."""
    return Response(SCRIPT, mimetype="text/javascript")


@forgot.before_request
def _name_caller() -> None:
    bind_context(caller_id="forgot")


@forgot.record
def _set_up_captcha(state: BlueprintSetupState) -> None:
    state.app.extensions[CAPTCHA] = Captcha(state.app.extensions["keyturn"])


@forgot.errorhandler(InvalidRequestError)
def _refuse_body(error: InvalidRequestError) -> Response:
    return show_fault(current_services(), error)


def current_captcha() -> Captcha:
    """Return the captcha of this application."""
    captcha: Captcha = current_app.extensions[CAPTCHA]
    return captcha


def ask_here(identifier: str, org_id: str, solution: str) -> None:
    """Ask in one of the places of this source, shared with the other pages; raise as ask."""
    delay: UniformDelay = current_app.extensions[UNIFORM_DELAY]
    source = client_source()
    services = current_services()
    org_id = org_id or organisation_of(services, request.host)

    def ask_once() -> None:
        captcha = current_captcha()
        ask(services, captcha, identifier, org_id, answer=solution, source=source.counted)

    delay.run(ask_once, Visitor("", "", source))


def _told(org_id: str | None, fields: dict[str, str]) -> dict[str, str]:
    """Return the fields, with the organisation of field, path or host: the page looks as its."""
    here = fields.get("orgID") or org_id or organisation_of(current_services(), request.host)
    return fields | {"orgID": here}


def _is_own_form() -> bool:
    """Return False if the browser says that another site's page posted the form."""
    origin, base = request.headers.get("Origin", "null"), current_services().settings.link_base
    own = ("null", request.host, urlsplit(base).netloc)  # no-referrer: null for our own, too
    is_here = (urlsplit(origin).netloc or origin) in own
    return is_here and request.headers.get("Sec-Fetch-Site", "none") in OWN_SITES


def _show(told: dict[str, str], complaint: Complaint | None = None) -> Response:
    captcha = current_captcha()
    return show_forgot_form(
        current_services(),
        read_filled(told),
        complaint,
        identifier=told.get("identifier", "")[:MAX_IDENTIFIER_CHARACTERS],
        widget=captcha.widget,
        challenge=captcha.challenge(),
    )
