"""Requests as spans, where traces are switched on: named by their route, never by their path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import request

from shared import tracing
from shared.tracing import Span

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLACE = "keyturn.span"
QUIET = ("/livez", "/readyz", "/metrics")  # asked all day by machines
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def traced(app: WSGIApplication) -> WSGIApplication:
    """The application, each request in a span that goes on with the caller's trace."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not tracing.is_tracing() or environ.get("PATH_INFO") in QUIET:
            return app(environ, start_response)
        method = environ.get("REQUEST_METHOD", "")
        name = method if method in METHODS else "HTTP"
        with tracing.span(name, parent=environ.get("HTTP_TRACEPARENT"), kind="server") as here:
            environ[PLACE] = here

            def start(status: str, *more: Any) -> Any:
                code = int(status[:3])
                here.note({"http.request.method": name, "http.response.status_code": code})
                return start_response(status, *more)

            return app(environ, start)

    return application


def name_by_route() -> None:
    """Name the span of Flask's request by its route."""
    here: Span | None = request.environ.get(PLACE)
    if here is not None and request.url_rule is not None:
        here.rename(f"{request.method} {request.url_rule.rule}")
        here.note({"http.route": request.url_rule.rule})
