"""Turn an error into a page."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared.errors import (
    BodyTooLargeError,
    CallerError,
    CodeExpiredError,
    CodeMismatchError,
    CodeUnusableError,
    DirectoryUnavailableError,
    PasswordMissingError,
    PasswordPolicyError,
    PasswordTooLongError,
    StoreUnavailableError,
    TooManyRequestsError,
)
from web.pages.enumeration import PAGES_LIMIT
from web.pages.forms import Filled, read_link
from web.pages.rendering import Complaint, PageNotice, show_form, show_notice
from web.services import WebServices

PAGE_PATHS = ("/ui/", "/r/")
RETRY_AFTER_OUTAGE_SECONDS = 5

COMPLAINTS: dict[type[CallerError], Complaint] = {
    CodeMismatchError: Complaint("wrong_code", field="code"),
    PasswordMissingError: Complaint("missing", field="password"),
    PasswordTooLongError: Complaint("too_long", field="password"),
}
POLICY_COMPLAINTS = {
    "length": Complaint("too_short", field="password"),
    "lower": Complaint("no_lower", field="password"),
    "upper": Complaint("no_upper", field="password"),
    "number": Complaint("no_number", field="password"),
    "symbol": Complaint("no_symbol", field="password"),
    "guessable": Complaint("guessable", field="password"),
    "application": Complaint("refused_password", field="password"),
}
OUTAGE = Complaint("unavailable", 503, heading_key="unavailable_heading")
TOO_MANY_REQUESTS = Complaint("too_many_requests", 429, heading_key="too_many_requests_heading")
OUTAGE_NOTICE = PageNotice(
    "unavailable_heading", "unavailable", 503, retry_after_seconds=RETRY_AFTER_OUTAGE_SECONDS
)
EXPIRED = PageNotice("expired_heading", "expired", 410, has_fresh_button=True)
ENDS: dict[str | None, PageNotice] = {  # by how the code ended
    "used": PageNotice("used_heading", "used", 410, has_fresh_button=True),
    "voided": PageNotice("too_many_tries_heading", "too_many_tries", 410, has_fresh_button=True),
    "displaced": PageNotice("replaced_heading", "replaced", 410, has_fresh_button=True),
    "replaced": PageNotice("replaced_heading", "replaced", 410, has_fresh_button=True),
    "voided_by_operator": PageNotice("replaced_heading", "replaced", 410, has_fresh_button=True),
}


def is_page(path: str) -> bool:
    """Return True for the path of a page: errors there are answered by pages too."""
    return path.startswith(PAGE_PATHS)


def answer_refusal(
    services: WebServices, filled: Filled, error: CallerError, *, may_show_form: bool = True
) -> Response:
    """Return the page for an error of a use case."""
    if isinstance(error, TooManyRequestsError):
        return _show_limit(services, filled, error, may_show_form=may_show_form)
    if isinstance(error, CodeExpiredError):
        return show_notice(services, filled, EXPIRED, language=error.language)
    if isinstance(error, CodeUnusableError):
        return show_notice(services, filled, ENDS[error.end], language=error.language)
    if isinstance(error, StoreUnavailableError | DirectoryUnavailableError):
        return _show_outage(services, filled, may_show_form=may_show_form)
    if isinstance(error, PasswordPolicyError):
        return show_form(services, filled, POLICY_COMPLAINTS[error.rule], policy=error.policy)
    return show_form(services, filled, COMPLAINTS[type(error)])


def show_fault(services: WebServices, error: Exception) -> Response:
    """Return the page for an error before or outside the use cases."""
    status = error.code if isinstance(error, HTTPException) else None
    if isinstance(error, CallerError):
        status = 413 if isinstance(error, BodyTooLargeError) else 400
    notice = PageNotice("unknown_heading", "open_again", status or 500)
    if notice.status >= 500:  # noqa: PLR2004
        notice = PageNotice("unavailable_heading", "open_again", 500)
    response = show_notice(services, read_link(), notice)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _show_limit(
    services: WebServices, filled: Filled, error: TooManyRequestsError, *, may_show_form: bool
) -> Response:
    """Show the form again if a second later is as good; for other limits, a notice."""
    if may_show_form and error.limit == PAGES_LIMIT:
        response = show_form(services, filled, TOO_MANY_REQUESTS)
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response
    notice = PageNotice(
        "too_many_requests_heading",
        "too_many_requests",
        429,
        retry_after_seconds=error.retry_after_seconds,
    )
    return show_notice(services, filled, notice)


def _show_outage(services: WebServices, filled: Filled, *, may_show_form: bool) -> Response:
    if not may_show_form:
        return show_notice(services, filled, OUTAGE_NOTICE)
    response = show_form(services, filled, OUTAGE)
    response.headers["Retry-After"] = str(RETRY_AFTER_OUTAGE_SECONDS)
    return response
