"""Serve the reset page; opening it changes nothing, only a form with a new password uses a code.

What a page says and how soon does not reveal whether a user, a reset or a code exists: only to a
reader who has the secret of a link that has ended does opening it say so (web/pages/forms.py has
the anti-forgery token, web/pages/enumeration.py what is done for users who do not exist, and the
uniform delay).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flask import Blueprint, Response, current_app
from flask.blueprints import BlueprintSetupState

from shared.errors import CallerError, InvalidRequestError
from shared.passwords.policy import normalise_password
from shared.tracing import bind_context
from web.http import client_source, current_services
from web.pages.enumeration import (
    UniformDelay,
    Visitor,
    change_password,
    find_link_end,
    find_link_organisation,
    send_fresh,
)
from web.pages.errors import answer_refusal, show_fault
from web.pages.forms import Filled, is_own_form, read_form, read_link, read_short_link
from web.pages.looks import LOOKS, Looks
from web.pages.rendering import Complaint, PageNotice, show_form, show_notice

pages = Blueprint("pages", __name__, template_folder="templates")

SCRIPT = (Path(__file__).parent.parent / "templates" / "reveal.js").read_text(encoding="utf-8")
UNIFORM_DELAY = "keyturn.uniform_delay"
INCOMPLETE = PageNotice("unknown_heading", "open_again", 200)
INCOMPLETE_FORM = PageNotice("unknown_heading", "open_again", 400)
DONE = PageNotice("done_heading", "done", 200, is_good=True)
FRESH = PageNotice("fresh_heading", "fresh", 200, is_good=True)
FRESH_AGAIN = PageNotice("fresh_label", "form_too_old_fresh", 400, has_fresh_button=True)
TOO_OLD = Complaint("form_too_old", field="password")
DIFFER = Complaint("differ", field="password")


@pages.get("/ui/password/reset")
def open_page() -> Response:
    """Show the form of a mail's link."""
    return _open(read_link())


@pages.get("/r/<reset_id>/<code>")
def open_short_link(reset_id: str, code: str) -> Response:
    """Show the form of an SMS's link; how it looks is for holders of the link alone to see."""
    org_id = find_link_organisation(current_services(), reset_id=reset_id, secret=code)
    return _open(replace(read_short_link(reset_id, code), org_id=org_id))


@pages.get("/ui/password/reveal.js")
def read_script() -> Response:
    """Return the script of the button that shows the passwords; the page works without it."""
    return Response(SCRIPT, mimetype="text/javascript")


@pages.post("/ui/password/reset")
def save_password() -> Response:
    """Change the password with the code; no other route uses a code up."""
    services, filled = current_services(), read_form()
    if not filled.handle:
        return show_notice(services, filled, INCOMPLETE_FORM)
    if not is_own_form(services.codes, filled):
        return show_form(services, filled, TOO_OLD)
    if normalise_password(filled.password) != normalise_password(filled.repeat):
        return show_form(services, filled, DIFFER)
    try:
        visitor = _visitor(filled)
        completed = change_password(services, _uniform_delay(), visitor, filled.password)
    except CallerError as error:
        return answer_refusal(services, filled, error)
    return show_notice(services, filled, DONE, language=completed.language)


@pages.post("/ui/password/reset/fresh")
def ask_for_fresh_message() -> Response:
    """Request a fresh message; the answer is the same for every user."""
    services, filled = current_services(), read_form()
    if not filled.handle:
        return show_notice(services, filled, INCOMPLETE_FORM)
    if not is_own_form(services.codes, filled):
        return show_notice(services, filled, FRESH_AGAIN)
    try:
        send_fresh(services, _uniform_delay(), _visitor(filled))
    except CallerError as error:
        return answer_refusal(services, filled, error, may_show_form=False)
    return show_notice(services, filled, FRESH)


@pages.before_request
def _name_caller() -> None:
    bind_context(caller_id="page")


@pages.record
def _set_up_pages(state: BlueprintSetupState) -> None:
    """Let delayed pages use three quarters of the threads; the rest stay free for the API."""
    services = state.app.extensions["keyturn"]
    threads = services.settings.web_threads
    state.app.extensions[UNIFORM_DELAY] = UniformDelay(slots=max(1, threads * 3 // 4))
    state.app.extensions[LOOKS] = Looks(services)
    state.app.jinja_env.trim_blocks = state.app.jinja_env.lstrip_blocks = True


@pages.errorhandler(InvalidRequestError)
def _refuse_body(error: InvalidRequestError) -> Response:
    return show_fault(current_services(), error)


def _open(filled: Filled) -> Response:
    if not filled.handle:
        return show_notice(current_services(), filled, INCOMPLETE)
    end = find_link_end(current_services(), handle=filled.handle, secret=filled.code)
    if end:
        response = answer_refusal(current_services(), filled, end)
        response.status_code = 200  # opening a page is no refusal
        return response
    return show_form(current_services(), filled)


def _visitor(filled: Filled) -> Visitor:
    return Visitor(filled.handle, filled.code, client_source())


def _uniform_delay() -> UniformDelay:
    delay: UniformDelay = current_app.extensions[UNIFORM_DELAY]
    return delay
