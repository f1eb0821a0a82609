"""The Flask application, made from services: fakes in tests, real ones from wiring."""

from __future__ import annotations

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from shared.errors import (
    BodyTooLargeError,
    CallerError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    UnauthenticatedError,
)
from shared.wiring import Services
from web.api import answer, api, house
from web.api_batches import api_batches
from web.api_levers import api_levers
from web.api_v2 import api_v2
from web.api_webhooks import api_webhooks
from web.callbacks import callbacks
from web.docs import docs
from web.faces import choose_face
from web.health import health
from web.house import open_house
from web.inbox import inbox
from web.page_refusals import is_page, show_fault
from web.pages import pages
from web.problems import UNEXPECTED, Problem, describe
from web.receiving import warn_of_unverifiable
from web.requests import set_up_requests
from web.rpc.http import RpcApplication
from web.traced import traced

log = structlog.get_logger()

HTTP_ERRORS: dict[type[HTTPException], type[CallerError]] = {
    NotFound: NotFoundError,
    MethodNotAllowed: MethodNotAllowedError,
    RequestEntityTooLarge: BodyTooLargeError,
}


def create_app(services: Services) -> Flask:
    """The application; it sends nothing, and every failure has one JSON shape."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # its empty answer would call itself HTML
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.extensions["keyturn"] = open_house(services)
    set_up_requests(app)
    warn_of_unverifiable(services.settings)
    app.register_blueprint(api)
    app.register_blueprint(api_v2)
    app.register_blueprint(callbacks)
    app.register_blueprint(api_levers)
    app.register_blueprint(api_webhooks)
    app.register_blueprint(api_batches)
    app.register_blueprint(health)
    app.register_blueprint(docs)
    app.register_blueprint(pages)
    app.register_blueprint(inbox)
    app.register_error_handler(CallerError, _tell_caller)
    app.register_error_handler(HTTPException, _tell_http)
    app.register_error_handler(Exception, _tell_unexpected)
    rpc = RpcApplication(app.extensions["keyturn"])
    app.wsgi_app = traced(choose_face(app.wsgi_app, rpc))  # type: ignore[assignment, method-assign]  # Flask's way
    return app


def _tell_caller(error: CallerError) -> Response:
    services = house()
    language = services.languages.choose_for_header(request.headers.get("Accept-Language"))
    problem = describe(error, services.languages, language)
    response = _problem_answer(problem)
    if isinstance(error, UnauthenticatedError):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _tell_http(error: HTTPException) -> Response:
    if is_page(request.path):
        return show_fault(house(), error)
    known = HTTP_ERRORS.get(type(error))
    if known is None and (error.code or 500) < 500:  # noqa: PLR2004
        known = InvalidRequestError
    if known is None:
        return _tell_unexpected(error)
    response = _tell_caller(known())
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _tell_unexpected(error: Exception) -> Response:
    log.error("request.failed", request_id=g.get("request_id"), exc_info=error)
    if is_page(request.path):
        return show_fault(house(), error)
    return _problem_answer(UNEXPECTED)


def _problem_answer(problem: Problem) -> Response:
    response = answer(problem.as_json())
    response.status_code = problem.http_status
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response
