"""Build the Flask application; dispatch by path: RPC or Flask; turn errors into JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

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
from shared.log import set_up_logging
from shared.queue import HintPublisher, make_celery
from shared.settings import PREFIX, load_settings
from shared.tracing import set_up_tracing
from shared.wiring import Services, build_services, check_keys, connect_store
from web.admin.api import api_admin
from web.admin.prefixes import api_prefixes
from web.api import api
from web.batches.api import api_batches
from web.callbacks import callbacks, warn_of_settings
from web.forgot.api import api_forgot
from web.forgot.pages import forgot
from web.http import current_services, json_response, limit_headers
from web.leaving.api import api_leaving
from web.middleware import V1_PATH, set_up_requests, traced, with_cors
from web.monitoring.health import health
from web.openapi.discovery import discovery
from web.openapi.pages import docs
from web.organisations.message_api import api_organisations
from web.pages.dev_inbox import inbox
from web.pages.errors import is_page, show_fault
from web.pages.routes import pages
from web.problems import UNEXPECTED, Problem, choose_language, describe
from web.rpc.calls import SERVICES
from web.rpc.http import RpcApplication
from web.services import build_web_services
from web.webhooks.api import api_webhooks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


log = structlog.get_logger()

HTTP_ERRORS: dict[type[HTTPException], type[CallerError]] = {
    NotFound: NotFoundError,
    MethodNotAllowed: MethodNotAllowedError,
    RequestEntityTooLarge: BodyTooLargeError,
}


def create_app(services: Services) -> Flask:
    """Build the Flask application; it sends nothing, and its errors have one JSON form."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # its empty answer would call itself HTML
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.extensions["keyturn"] = build_web_services(services)
    set_up_requests(app)
    warn_of_settings(services.settings)
    app.register_blueprint(api)
    app.register_blueprint(callbacks)
    app.register_blueprint(api_admin)
    app.register_blueprint(api_webhooks)
    app.register_blueprint(api_organisations)
    app.register_blueprint(api_batches)
    app.register_blueprint(api_leaving)
    app.register_blueprint(api_prefixes)
    app.register_blueprint(health)
    app.register_blueprint(docs)
    app.register_blueprint(discovery)
    app.register_blueprint(pages)
    app.register_blueprint(forgot)
    app.register_blueprint(api_forgot)
    app.register_blueprint(inbox)
    app.register_error_handler(CallerError, _answer_caller_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)
    rpc = RpcApplication(app.extensions["keyturn"])
    inner = with_cors(dispatch_by_path(app.wsgi_app, rpc), services.settings.cors_origins)
    app.wsgi_app = traced(inner)  # type: ignore[assignment, method-assign]  # Flask's way
    return app


def dispatch_by_path(flask_app: WSGIApplication, rpc_app: RpcApplication) -> WSGIApplication:
    """Return one application that gives RPC requests to `rpc_app` and all others to Flask."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (rpc_app if is_rpc(environ) else flask_app)(environ, start_response)

    return application


def is_rpc(environ: WSGIEnvironment) -> bool:
    """True for a path of RPC, and for gRPC on the REST path of the v1 call."""
    path: str = environ.get("PATH_INFO", "")
    is_grpc = str(environ.get("CONTENT_TYPE", "")).lower().startswith("application/grpc")
    return path.removeprefix("/").partition("/")[0] in SERVICES or (
        is_grpc and V1_PATH.fullmatch(path) is not None
    )


def _answer_caller_error(error: CallerError) -> Response:
    services = current_services()
    language = choose_language(services.languages, request.headers.get("Accept-Language"))
    problem = describe(error, services.languages, language)
    response = _problem_response(problem)
    if isinstance(error, UnauthenticatedError):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _answer_http_error(error: HTTPException) -> Response:
    if is_page(request.path):
        return show_fault(current_services(), error)
    known = HTTP_ERRORS.get(type(error))
    if known is None and (error.code or 500) < 500:  # noqa: PLR2004
        known = InvalidRequestError
    if known is None:
        return _answer_unexpected(error)
    response = _answer_caller_error(known())
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _answer_unexpected(error: Exception) -> Response:
    log.error("request.failed", request_id=g.get("request_id"), exc_info=error)
    if is_page(request.path):
        return show_fault(current_services(), error)
    return _problem_response(UNEXPECTED)


def _problem_response(problem: Problem) -> Response:
    response = json_response(problem.as_json())
    response.status_code = problem.http_status
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
        response.headers.update(limit_headers(current_services().settings, problem))
    return response


def build_app() -> WSGIApplication:
    """Build the application from the environment.

    The settings are removed from the environment: nothing needs the secrets there any more.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = load_settings(os.environ)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    set_up_logging(settings.log_level, service="web")
    set_up_tracing("web", os.environ)
    os.environ.pop("OTEL_EXPORTER_OTLP_HEADERS", None)  # may hold a key, and has been read
    hints = HintPublisher(make_celery(settings))
    services = build_services(settings, client=connect_store(settings), hints=hints)
    check_keys(services.digests)
    services.digests.watch()
    return create_app(services)
