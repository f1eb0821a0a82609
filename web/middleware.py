"""Handle every request: request id, size of the body, response headers, span."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from flask import Flask, Response, g, request
from werkzeug.wrappers import Request

from shared import tracing
from shared.errors import BodyTooLargeError, InvalidRequestError, NotFoundError
from shared.settings import Settings
from shared.tracing import bind_request_id
from web.http import BODY_ERROR, ListWantedError, client_source, current_services

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


SPAN_KEY = "keyturn.span"  # in the environ
FAILURE = "keyturn.failure"  # in the environ: what was raised before Flask
UNTRACED_PATHS = ("/livez", "/readyz", "/metrics")  # polled by machines
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

API_PATHS = (
    "/management/",
    "/users/",
    "/v2/",
    "/keyturn/",
    "/zitadel.",
    "/.well-known/",
    "/openapi.json",
)
ALLOWED_HEADERS = (
    "Accept, Accept-Language, Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, "
    "Content-Encoding, Content-Type, Grpc-Encoding, Grpc-Timeout, Idempotency-Key, If-Match, "
    "X-Grpc-Web, X-Request-Id, X-User-Agent, X-Zitadel-Orgid"
)
EXPOSED_HEADERS = (
    "Deprecation, ETag, Grpc-Message, Grpc-Status, Grpc-Status-Details-Bin, Idempotent-Replayed, "
    "Keyturn-Reset-Id, Link, Location, RateLimit, RateLimit-Policy, Retry-After, "
    "WWW-Authenticate, X-Request-Id"
)
PREFLIGHT_SECONDS = 7200

BODY_SECONDS = 10.0
MAX_BODY_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
VISIBLE_ASCII = re.compile(r"[!-~]{1,128}")
V1_PATH = re.compile(r"(?:/management/v1)?/users/([^/]+)/password/_reset")
# RFC 9745: the date from which the call is deprecated; ZITADEL deprecated v1 on it.
DEPRECATED_SINCE = "@1735689600"


def set_up_requests(app: Flask) -> None:
    """Give every request an id, and every response its headers."""
    app.before_request(_assign_request_id)
    app.before_request(_refuse_malformed)
    app.after_request(_finish_response)
    app.register_error_handler(ListWantedError, lambda _: Response(status=ListWantedError.STATUS))


def assign_request_id(header: str | None, *, source: str | None = None) -> str:
    """Bind the request id to the logs and return it: the caller's if valid, else a new one.

    `source`: where the request comes from, as logs and the audit trail show it.
    """
    request_id = header if header and VISIBLE_ASCII.fullmatch(header) else secrets.token_hex(8)
    bind_request_id(request_id, source=source)
    return request_id


def _assign_request_id() -> None:
    source = client_source().shown(current_services().settings.log_addresses)
    g.request_id = assign_request_id(request.headers.get("X-Request-Id"), source=source)


def _refuse_malformed() -> None:
    """Raise for a route that reads no body too; werkzeug takes `//livez` for `/livez`."""
    if FAILURE in request.environ:
        raise request.environ[FAILURE]
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFoundError
    if request.url_rule and isinstance(
        error := request.environ.get(BODY_ERROR), InvalidRequestError
    ):
        raise error


def _finish_response(response: Response) -> Response:
    if request.url_rule is not None:
        name_span(request.environ, request.url_rule.rule)
    settings = current_services().settings
    headers = answer_headers(settings, request.path, g.get("request_id", ""))
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response


def name_span(environ: WSGIEnvironment, rule: str) -> None:
    """Name the span of a request, if there is one, by its route."""
    span: Any = environ.get(SPAN_KEY)  # of OpenTelemetry
    if span is not None:
        span.update_name(f"{environ['REQUEST_METHOD']} {rule}")
        span.set_attribute("http.route", rule)


def answer_headers(settings: Settings, path: str, request_id: str) -> dict[str, str]:
    """Return the headers of every answer at a path."""
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
    headers["X-Content-Type-Options"] = "nosniff"
    if match := V1_PATH.fullmatch(path):
        successor = f"{settings.link_base}/v2/users/{quote(match[1], safe='')}/password_reset"
        headers["Deprecation"] = DEPRECATED_SINCE
        headers["Link"] = f'<{successor}>; rel="successor-version"'
    return headers


def traced(app: WSGIApplication) -> WSGIApplication:
    """Wrap an application: each request has a span, which continues the caller's trace."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not tracing.is_tracing() or environ.get("PATH_INFO") in UNTRACED_PATHS:
            return app(environ, start_response)
        method = environ.get("REQUEST_METHOD", "")
        name = method if method in METHODS else "HTTP"
        with tracing.span(
            name, parent=environ.get("HTTP_TRACEPARENT"), kind=tracing.SpanKind.SERVER
        ) as span:
            environ[SPAN_KEY] = span

            def start(status: str, *more: Any) -> Any:
                code = int(status[:3])
                span.set_attribute("http.request.method", name)
                span.set_attribute("http.response.status_code", code)
                return start_response(status, *more)

            return app(environ, start)

    return application


def with_cors(app: WSGIApplication, origins: tuple[str, ...]) -> WSGIApplication:
    """Wrap an application: scripts of these origins may call the API; `*` is any origin.

    Callers are known by a token, not a cookie, so credentials are never allowed. The pages, the
    callbacks and what machines poll are not for scripts of other sites.

    Source: https://fetch.spec.whatwg.org/#http-cors-protocol
    """

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, origin = environ.get("PATH_INFO", ""), environ.get("HTTP_ORIGIN")
        allowed = "*" if "*" in origins else origin if origin in origins else None
        if allowed is None or not path.startswith(API_PATHS):
            return app(environ, start_response)
        headers = [("Access-Control-Allow-Origin", allowed)]
        if allowed != "*":
            headers.append(("Vary", "Origin"))
        method = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        if environ.get("REQUEST_METHOD") == "OPTIONS" and method is not None:
            headers += [("Access-Control-Allow-Methods", method)] if method in METHODS else []
            headers.append(("Access-Control-Allow-Headers", ALLOWED_HEADERS))
            headers.append(("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)))
            start_response("204 No Content", headers)
            return []

        def start(status: str, given: list[tuple[str, str]], *more: Any) -> Any:
            exposed = ("Access-Control-Expose-Headers", EXPOSED_HEADERS)
            return start_response(status, [*given, *headers, exposed], *more)

        return app(environ, start)

    return application


def read_capped_body(source: Request | None = None, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a request, by default Flask's current one.

    Raises:
        BodyTooLargeError: the body or its Content-Length exceeds `max_bytes`.
        InvalidRequestError: the body broke off, or did not arrive in time.
    """
    source = source or request
    length = source.content_length
    if length is not None and length > max_bytes:
        raise BodyTooLargeError
    if length is None and "Transfer-Encoding" not in source.headers:
        return b""
    body: bytes = _open_body(source).read(max_bytes + 1 if length is None else length)
    if len(body) > max_bytes:
        raise BodyTooLargeError
    if length is not None and len(body) < length:
        raise InvalidRequestError("the body is shorter than Content-Length says")
    return body


def read_list() -> Iterator[bytes]:
    """Return the pieces of a body that is a list of users; all of it has arrived.

    Raises:
        ListWantedError, BodyTooLargeError, InvalidRequestError, TooManyRequestsError.
    """
    return iter(partial(_open_body(request).read, CHUNK_BYTES), b"")


def _open_body(source: Request) -> BinaryIO:
    if error := source.environ.get(BODY_ERROR):
        raise error
    body: BinaryIO = source.environ["wsgi.input"]
    return body
