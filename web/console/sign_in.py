"""Sign in to the console by token, and out again."""

from __future__ import annotations

import re
from http import HTTPStatus

from flask import Response, g

from shared.errors import CallerError
from web.console.frame import console, go, read_form, show, url
from web.console.session import Session, begin_session, keep_session, seal_session
from web.http import current_services
from web.problems import describe

# A path of the console alone: no host, no backslash that browsers take for a slash.
_OWN_PATH = re.compile(r"/console(?:/[\w%:+~-][\w%:+~.-]*)*(?:\?[\w=&%.:+~-]*)?", re.ASCII)


@console.get("/console/sign-in")
def open_sign_in() -> Response:
    """Show the form for a token."""
    return show("sign_in.html", error="", next="")


@console.post("/console/sign-in")
def sign_in() -> Response:
    """Begin a session with a token that is valid."""
    services, filled = current_services(), read_form()
    session = begin_session(filled.get("token", "").strip(), filled.get("org", "").strip())
    next_path = filled.get("next", "")
    try:
        enter(session)
    except CallerError as error:
        problem = describe(error, services.languages)
        words = f"That did not work: {problem.message}."
        return show("sign_in.html", status=problem.http_status, error=words, next=next_path)
    return go(own_path(next_path))


@console.get("/console/sign-in/once/<secret>")
def sign_in_once(secret: str) -> Response:
    """Begin a session by a link of the command line, which works once."""
    token = current_services().callers.use_link(secret)
    if token is None:
        words = "This link was used or is too old; `keyturn console` prints another."
        return show("sign_in.html", status=410, error=words, next="")
    return welcome(begin_session(token, ""))


def welcome(session: Session) -> Response:
    """Begin a session and lead to the console by a page of our own.

    Browsers send a Strict cookie with no request that another site began, redirects included.

    Raises:
        CallerError: the token is not valid.
    """
    enter(session)
    return show("welcome.html")


def enter(session: Session) -> None:
    """Begin a session; raise CallerError if its token is not valid, or too long for a cookie."""
    current_services().auth.authenticate(session.credentials)
    seal_session(current_services(), session)
    g.console_session = session


@console.post("/console/sign-out")
def sign_out() -> Response:
    """End the session."""
    g.pop("console_session", None)
    headers = {"Location": url("/sign-in"), "Clear-Site-Data": '"cache"'}
    response = Response(status=HTTPStatus.SEE_OTHER, headers=headers)
    keep_session(current_services(), response, None)
    return response


def own_path(path: str) -> str:
    """Return a path of the console without /console; empty for one that leads elsewhere."""
    return path.removeprefix("/console") if _OWN_PATH.fullmatch(path) else ""
