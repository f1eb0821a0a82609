"""The RPC calls: paths, messages, and how each is answered in every protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from shared import tracing
from shared.errors import CallerError, InvalidRequestError
from web.api import change_password, reset_password, send_notification
from web.auth import Credentials
from web.http import CallResponse, RequestContext, find_source, limit_headers
from web.middleware import DEPRECATED_SINCE, assign_request_id
from web.problems import (
    UNEXPECTED,
    Problem,
    ProblemError,
    choose_language,
    describe,
)
from web.rpc.generated import management_pb2, user_pb2, zitadel_pb2
from web.schemas import PASSWORD_RESET, SEND_NOTIFICATION, SET_PASSWORD, WireSchema
from web.services import WebServices

log = structlog.get_logger()

Fields: TypeAlias = dict[str, Any]
Header: TypeAlias = Callable[[str], str | None]  # the value of a header, by its lower-case name


@dataclass(frozen=True, slots=True)
class RpcCall:
    """A call: its path, messages, schema and use case."""

    path: str
    run: Callable[[WebServices, RequestContext, Fields], CallResponse]
    schema: WireSchema
    request: type[Message]
    response: type[Message]
    is_deprecated: bool = False


V1_CALL = RpcCall(
    "/zitadel.management.v1.ManagementService/SendHumanResetPasswordNotification",
    send_notification,
    SEND_NOTIFICATION,
    management_pb2.SendHumanResetPasswordNotificationRequest,
    management_pb2.SendHumanResetPasswordNotificationResponse,
    is_deprecated=True,
)
CALLS = {
    call.path: call
    for call in (
        V1_CALL,
        RpcCall(
            "/zitadel.user.v2.UserService/PasswordReset",
            reset_password,
            PASSWORD_RESET,
            user_pb2.PasswordResetRequest,
            user_pb2.PasswordResetResponse,
        ),
        RpcCall(
            "/zitadel.user.v2.UserService/SetPassword",
            change_password,
            SET_PASSWORD,
            user_pb2.SetPasswordRequest,
            user_pb2.SetPasswordResponse,
        ),
    )
}
SERVICES = tuple(dict.fromkeys(path.split("/")[1] for path in CALLS))
SUCCESSOR = "/zitadel.user.v2.UserService/PasswordReset"
# The messages of `details`: protobuf's JSON finds a message by name only if it is imported.
DETAILS = (zitadel_pb2.ErrorDetail, error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo)


@dataclass(frozen=True, slots=True)
class RpcResponse:
    """The response or the problem of a call, and its headers."""

    outcome: CallResponse | Problem
    headers: tuple[tuple[str, str], ...]  # the request id is the first

    @property
    def request_id(self) -> str:
        """Return the request id, as in the logs."""
        return self.headers[0][1]


def answer_call(
    services: WebServices,
    call: RpcCall,
    header: Header,
    read: Callable[[], Fields],
    *,
    peer: str,
) -> RpcResponse:
    """Read the request, run the use case, and return its response or problem.

    `read` returns the decoded message; it may raise ProblemError or CallerError. `peer` is the
    address of the other end of the connection.
    """
    settings = services.settings
    source = find_source(peer, header("x-forwarded-for") or "", settings.trusted_proxies)
    shown = source.shown(settings.log_addresses)
    request_id = assign_request_id(header("x-request-id"), source=shown)
    headers = (("x-request-id", request_id), *fixed_headers(services, call))
    try:
        parent, kind = header("traceparent"), tracing.SpanKind.SERVER
        with tracing.span(call.path[1:], parent=parent, kind=kind):
            response = call.run(services, read_context(header), read())
    except ProblemError as error:
        return RpcResponse(error.problem, headers)
    except CallerError as error:
        language = choose_language(services.languages, header("accept-language"))
        problem = describe(error, services.languages, language)
        limits = limit_headers(settings, problem) if problem.limit else {}
        return RpcResponse(problem, headers + _lower(limits))
    except Exception as error:  # the outermost loop of a call
        log.error("request.failed", request_id=request_id, exc_info=error)
        return RpcResponse(UNEXPECTED, headers)
    return RpcResponse(response, headers + _lower(response.headers(settings)))


def _lower(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return headers as metadata, whose names are in lower case."""
    return tuple((name.lower(), value) for name, value in headers.items())


def read_context(header: Header) -> RequestContext:
    """Return the headers that a use case needs."""
    return RequestContext(
        Credentials(header("authorization"), header("x-zitadel-orgid") or None),
        header("idempotency-key"),
    )


def read_message(body: bytes, kind: type[Message]) -> Fields:
    """Decode a binary message into its present fields, named as in the JSON schemas.

    Raises:
        InvalidRequestError: it cannot be decoded as this kind of message.
    """
    try:
        return _present_fields(kind.FromString(body))
    except DecodeError as error:
        raise InvalidRequestError("the message cannot be decoded") from error


def write_message(response: CallResponse, kind: type[Message]) -> bytes:
    """Encode the response as a binary message."""
    return ParseDict(response.body, kind()).SerializeToString()


def _present_fields(message: Message) -> Fields:
    return {
        field.name: _present_fields(value) if isinstance(value, Message) else value
        for field, value in message.ListFields()
    }


def fixed_headers(services: WebServices, call: RpcCall) -> tuple[tuple[str, str], ...]:
    """Return the headers of every response of a call, including refusals."""
    if not call.is_deprecated:
        return ()
    successor = f'<{services.settings.link_base}{SUCCESSOR}>; rel="successor-version"'
    return (("deprecation", DEPRECATED_SINCE), ("link", successor))


def build_status(problem: Problem) -> status_pb2.Status:
    """Return the google.rpc.Status of a problem."""
    return ParseDict(problem.as_json(), status_pb2.Status())


def write_status_details(problem: Problem) -> bytes | None:
    """Return the value of `grpc-status-details-bin`; None if there are no details."""
    status = build_status(problem)
    details: bytes = status.SerializeToString()
    return details if status.details else None
