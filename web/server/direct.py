"""Dispatch by path: RPC, Flask, or the calls that record a reset, answered here.

Flask's own work would be a third of theirs. Only what is plain is answered here: POST to one of
their paths with a small body, and no error. All else is Flask's, the errors found here too: it
raises them again as if they were its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from shared.errors import InvalidRequestError
from web.api import reset_password, send_notification
from web.auth import Credentials
from web.http import BODY_ERROR, CallResponse, RequestContext, find_source
from web.middleware import FAILURE, V1_PATH, answer_headers, assign_request_id, name_span
from web.rpc.calls import SERVICES
from web.schemas import PASSWORD_RESET, SEND_NOTIFICATION, WireSchema, read_body
from web.services import WebServices

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Call: TypeAlias = Callable[[WebServices, RequestContext, Mapping[str, Any]], CallResponse]

PATH = re.compile(
    r"((?:/management/v1)?/users/|/v2/users/)([\w.@:+-]+)(/password/_reset|/password_reset)",
    re.ASCII,
)
CALLS: dict[tuple[str, str], tuple[Call, WireSchema]] = {
    ("/management/v1/users/", "/password/_reset"): (send_notification, SEND_NOTIFICATION),
    ("/users/", "/password/_reset"): (send_notification, SEND_NOTIFICATION),
    ("/v2/users/", "/password_reset"): (reset_password, PASSWORD_RESET),
}
MAX_BODY_DIGITS = 3  # of its Content-Length


def is_rpc(environ: WSGIEnvironment) -> bool:
    """True for a path of RPC, and for gRPC on the REST path of the v1 call."""
    path: str = environ.get("PATH_INFO", "")
    is_grpc = str(environ.get("CONTENT_TYPE", "")).lower().startswith("application/grpc")
    return path.removeprefix("/").partition("/")[0] in SERVICES or (
        is_grpc and V1_PATH.fullmatch(path) is not None
    )


class DirectCalls:
    """The WSGI application before those of Flask and RPC."""

    def __init__(
        self, services: WebServices, flask_app: WSGIApplication, rpc_app: WSGIApplication
    ) -> None:
        """`flask_app` answers what is neither RPC nor plain."""
        self._services, self._flask_app, self._rpc_app = services, flask_app, rpc_app
        self._read = lru_cache(64)(read_body)  # most callers send one of few bodies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        if is_rpc(environ):
            return self._rpc_app(environ, start_response)
        found = PATH.fullmatch(environ["PATH_INFO"])
        call, schema = CALLS.get((found[1], found[3]), (None, None)) if found else (None, None)
        if call is None or schema is None or found is None or not _is_plain(environ):
            return self._flask_app(environ, start_response)
        settings = self._services.settings
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        source = find_source(environ.get("REMOTE_ADDR", ""), forwarded, settings.trusted_proxies)
        request_id = assign_request_id(
            environ.get("HTTP_X_REQUEST_ID"), source=source.shown(settings.log_addresses)
        )
        context = RequestContext(
            Credentials(
                environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_ZITADEL_ORGID") or None
            ),
            environ.get("HTTP_IDEMPOTENCY_KEY"),
        )
        try:
            fields = self._read(_read_plain_body(environ), schema) | {"user_id": found[2]}
            answered = call(self._services, context, fields)
        except Exception as error:  # noqa: BLE001 - Flask's handlers know what to answer
            environ[FAILURE], environ["HTTP_X_REQUEST_ID"] = error, request_id
            return self._flask_app(environ, start_response)
        name_span(environ, f"{found[1]}<user_id>{found[3]}")
        body = orjson.dumps(answered.body)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **answered.headers(self._services.limit_policy),
            **answer_headers(settings, environ["PATH_INFO"], request_id),
        }
        start_response("200 OK", list(headers.items()))
        return [body]


def _is_plain(environ: WSGIEnvironment) -> bool:
    length = environ.get("CONTENT_LENGTH") or "0"
    return (
        environ["REQUEST_METHOD"] == "POST"
        and BODY_ERROR not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
        and len(length) <= MAX_BODY_DIGITS
        and length.isdecimal()
    )


def _read_plain_body(environ: WSGIEnvironment) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        raise InvalidRequestError("the body is shorter than Content-Length says")
    return body
