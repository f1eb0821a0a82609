"""What every page of the console has: session, permissions, forms, layout, errors.

A page is one function and one template:

    @console.get("/console/things")
    def list_things() -> Response:
        services, caller = current_services(), caller_here()
        return show("things.html", things=...)

A button is a link to a page of its own that asks for a reason: `ask`. What it does is a use case of
the API with `why(fields)`, so that it stands in the audit trail.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, render_template, request

from shared.errors import (
    AuthHeaderMissingError,
    CallerError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from shared.models import Caller
from web.admin.actions import AuditReason, check_reason
from web.auth import SYSTEM_READ, audit_name, count_change_in_force
from web.console.session import Session, keep_session, read_session
from web.explain.wording import format_duration, format_time
from web.http import BODY_ERROR, SAFE_METHODS, ListWantedError, current_services
from web.pages.forms import OWN_SITES, read_fields
from web.pages.looks import STYLE, Look
from web.problems import UNEXPECTED, describe

console = Blueprint("console", __name__, template_folder="templates")

# The navigation: path below /console → its word, and the permission without which in every
# organisation it is not shown. A further page is one line here.
NAVIGATION = {
    "": ("Now", SYSTEM_READ),
    "/resets": ("Resets", ""),
    "/providers": ("Providers", SYSTEM_READ),
    "/batches": ("Batches", ""),
    "/suppressions": ("Suppressions", SYSTEM_READ),
    "/webhooks": ("Webhooks", ""),
    "/audit": ("Audit", SYSTEM_READ),
    "/preview": ("Messages", ""),
}
NOT_ALLOWED = "The token you signed in with may not do this."
NOT_THIS_FORM = "This form is not one of this session: open its page again."
OPEN = ("open_sign_in", "sign_in", "sign_in_once", "begin_oidc", "end_oidc", "read_asset")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
STATIC = Path(__file__).with_name("static")
TYPES = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}


@dataclass(frozen=True, slots=True)
class Question:
    """What a button asks before it acts."""

    title: str
    text: str  # what will happen
    button: str
    back: str  # the path below /console where the answer leads
    fields: tuple[Field, ...] = ()
    is_grave: bool = False  # cannot be undone
    has_reason: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a question beside its reason."""

    name: str
    label: str
    hint: str = ""
    kind: str = "text"
    choices: Mapping[str, str] | None = None  # value → words
    value: str = ""
    is_needed: bool = False


def show(template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page from a template in web/console/templates/console."""
    session: Session | None = g.get("console_session")
    auth, settings, caller = current_services().auth, current_services().settings, None
    with suppress(CallerError):  # a page about an outage needs no navigation
        caller = auth.authenticate(session.credentials) if session else None
    navigation = {
        path: word
        for path, (word, right) in NAVIGATION.items()
        if caller and (not right or auth.may_everywhere(caller, right))
    }
    page = render_template(
        f"console/{template}",
        url=url,
        asset=asset,
        navigation=navigation,
        here=request.path.removeprefix("/console"),
        form_token=session.form_token(current_services()) if session else "",
        note=session.note if session else "",
        oidc=settings.oidc_client_id and urlsplit(settings.oidc_issuer).netloc,
        format_time=format_time,
        format_duration=format_duration,
        **values,
    )
    if session and not is_live():
        g.console_session = replace(session, note="")  # said
    return Response(page, status, headers=HEADERS, mimetype="text/html")


def go(path: str, note: str = "") -> Response:
    """Lead to a path below /console, where `note` is said first."""
    g.console_session = replace(g.console_session, note=note[:500])
    return Response(status=HTTPStatus.SEE_OTHER, headers={"Location": url(path)})


def ask(question: Question, act: Callable[[Mapping[str, str]], str]) -> Response:
    """Show a question; once it is answered, act, and say the sentence that `act` returns.

    What a use case refuses is said above the form, which keeps what was typed.
    """
    if request.method in SAFE_METHODS:
        filled = request.args.to_dict() | {"once": secrets.token_hex(16)}
        return show("question.html", question=question, filled=filled, error="")
    filled = read_form()
    try:
        return go(question.back, act(filled))
    except (NotFoundError, PermissionDeniedError, UnauthenticatedError):
        raise
    except CallerError as error:
        problem = describe(error, current_services().languages)
        status, words = problem.http_status, problem.message
        return show("question.html", status=status, question=question, filled=filled, error=words)


def why(filled: Mapping[str, str]) -> AuditReason:
    """Return who acts and the reason in a form; raise InvalidRequestError if it has none."""
    return AuditReason(audit_name(caller_here()), check_reason(filled.get("reason")))


def caller_here() -> Caller:
    """Return the caller of the session."""
    return current_services().auth.authenticate(g.console_session.credentials)


def read_form() -> dict[str, str]:
    """Return the fields of the posted form, however often it is asked for."""
    if "console_form" not in g:
        g.console_form = read_fields()
    filled: dict[str, str] = g.console_form
    return filled


def url(path: str = "") -> str:
    """Return the address of a path below /console, behind a proxy's prefix too."""
    return f"{urlsplit(current_services().settings.link_base).path}/console{path}"


def is_live() -> bool:
    """Return True for a request of a page that renews itself: it keeps no session alive."""
    return "HX-Request" in request.headers


@cache
def read_asset_file(name: str) -> tuple[str, str]:
    """Return the text of a file in web/console/static, and its digest."""
    text = (STATIC / name).read_text(encoding="utf-8")
    if name == "console.css":  # with the colours of the reset page
        style = str(Look(None, "").style)
        text = style[: style.index("*, *::before")] + style[len(STYLE) :] + text
    return text, hashlib.sha256(text.encode()).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the address of a file in web/console/static; it changes with the file."""
    return url(f"/static/{name}?v={read_asset_file(name)[1]}")


@console.get("/console/static/<name>")
def read_asset(name: str) -> Response:
    """Return the style sheet or the script."""
    if name not in {each.name for each in STATIC.iterdir()}:
        raise NotFoundError
    text, digest = read_asset_file(name)
    response = Response(text, mimetype=TYPES[Path(name).suffix])
    if request.args.get("v") == digest:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@console.route("/console/<path:_rest>", methods=["GET", "POST"])
def miss(_rest: str) -> Response:
    """Raise NotFoundError: there is no such page."""
    raise NotFoundError


@console.before_request
def _open() -> None:
    services = current_services()
    if services.settings.console == "off":
        raise NotFoundError
    is_own = request.headers.get("Sec-Fetch-Site", "none") in OWN_SITES
    if request.method not in SAFE_METHODS and not is_own:
        raise PermissionDeniedError(NOT_THIS_FORM)
    if _is_open():
        return
    session = read_session(services)
    if session is None:
        raise AuthHeaderMissingError
    services.auth.authenticate(session.credentials)
    g.console_session = session
    if request.method not in SAFE_METHODS:
        is_upload = request.mimetype == "multipart/form-data"  # which is not read twice
        given = request.args if is_upload else read_form()
        if not session.owns_form(services, given.get("csrf", "")):
            raise PermissionDeniedError(NOT_THIS_FORM)
        if not isinstance(request.environ.get(BODY_ERROR), ListWantedError):  # else it comes again
            count_change_in_force(services, session.credentials)


def _is_open() -> bool:
    return request.endpoint in {f"console.{each}" for each in OPEN}


@console.after_request
def _keep_session(response: Response) -> Response:
    session: Session | None = g.get("console_session")
    if session and not is_live():
        keep_session(current_services(), response, session)
    return response


@console.errorhandler(UnauthenticatedError)
def _ask_to_sign_in(error: UnauthenticatedError) -> Response:
    g.pop("console_session", None)
    is_over = not isinstance(error, AuthHeaderMissingError)
    message = "The token you signed in with is not valid any more." if is_over else ""
    may_return = request.method in SAFE_METHODS and not _is_open()
    next_path = request.full_path.rstrip("?") if may_return else ""
    response = show("sign_in.html", status=401, error=message, next=next_path)
    if is_over:
        keep_session(current_services(), response, None)
    return response


@console.errorhandler(CallerError)
def _say_error(error: CallerError) -> Response:
    problem = describe(error, current_services().languages)
    words = problem.message
    if isinstance(error, PermissionDeniedError):
        words = NOT_THIS_FORM if error.message == NOT_THIS_FORM else NOT_ALLOWED
    response = show("error.html", status=problem.http_status, words=words)
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response


def is_console(path: str) -> bool:
    """Return True for a path of the console: errors there are answered by pages too."""
    return path == "/console" or path.startswith("/console/")


def show_unexpected() -> Response:
    """Return the page for an error of ours."""
    return show("error.html", status=500, words=UNEXPECTED.message)
