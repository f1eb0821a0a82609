"""Dispatch by path: RPC, Flask, or the calls that record a reset, answered here.

Flask's own work would be a third of theirs. It has what is not plain: bodies that are not small and
whole, and errors, which it raises as if they were its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from shared.errors import InvalidRequestError
from web.api import reset_password, send_notification
from web.auth import Credentials
from web.http import BODY_ERROR, RequestContext, find_source
from web.middleware import FAILURE, V1_PATH, answer_headers, assign_request_id, name_span
from web.rpc.calls import SERVICES
from web.schemas import PASSWORD_RESET, SEND_NOTIFICATION, read_body
from web.services import WebServices

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = re.compile(r"(/[\w/]+/|/)users/([\w.@:+-]+)/(\w+/?\w+)", re.ASCII)
CALLS = {
    "POST /management/v1/users/<user_id>/password/_reset": (send_notification, SEND_NOTIFICATION),
    "POST /users/<user_id>/password/_reset": (send_notification, SEND_NOTIFICATION),
    "POST /v2/users/<user_id>/password_reset": (reset_password, PASSWORD_RESET),
}
PLAIN_LENGTH = re.compile(r"\d{0,3}", re.ASCII)


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
        path, get, settings = environ["PATH_INFO"], environ.get, self._services.settings
        found, length = PATH.fullmatch(path), get("CONTENT_LENGTH", "")
        rule = found and f"{environ['REQUEST_METHOD']} {found[1]}users/<user_id>/{found[3]}"
        is_whole = not {BODY_ERROR, "HTTP_TRANSFER_ENCODING"} & environ.keys()
        if not (found and rule in CALLS and is_whole and PLAIN_LENGTH.fullmatch(length)):
            return self._flask_app(environ, start_response)
        body = environ["wsgi.input"].read(int(length)) if length else b""
        if len(body) < int(length or 0):
            environ[BODY_ERROR] = InvalidRequestError(
                "the body is shorter than Content-Length says"
            )
            return self._flask_app(environ, start_response)
        forwarded = get("HTTP_X_FORWARDED_FOR", "")
        source = find_source(get("REMOTE_ADDR", ""), forwarded, settings.trusted_proxies)
        shown = source.shown(settings.log_addresses)
        request_id = assign_request_id(get("HTTP_X_REQUEST_ID"), source=shown)
        who = Credentials(get("HTTP_AUTHORIZATION"), get("HTTP_X_ZITADEL_ORGID") or None)
        context = RequestContext(who, get("HTTP_IDEMPOTENCY_KEY"))
        call, schema = CALLS[rule]
        try:
            fields = self._read(body, schema) | {"user_id": found[2]}
            answered = call(self._services, context, fields)
        except Exception as error:  # noqa: BLE001 - Flask's handlers know what to answer
            environ[FAILURE], environ["HTTP_X_REQUEST_ID"] = error, request_id
            return self._flask_app(environ, start_response)
        name_span(environ, rule.partition(" ")[2])
        text = orjson.dumps(answered.body)
        headers = answer_headers(settings, path, request_id)
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(text))}
        headers |= answered.headers(self._services.limit_policy)
        start_response("200 OK", list(headers.items()))
        return [text]
