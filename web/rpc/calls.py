"""The calls as RPC: their paths and messages, and the one way each is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from shared import tracing
from shared.errors import CallerError, InvalidRequestError
from web.calls import Answer, Asked, change_password, reset_password, send_notification
from web.house import House
from web.json_bodies import WireSchema
from web.problems import UNEXPECTED, Problem, ProblemError, describe
from web.requests import DEPRECATED_SINCE, name_request
from web.resets import Credentials
from web.rpc import management_pb2, user_pb2
from web.schemas import PASSWORD_RESET, SEND_NOTIFICATION, SET_PASSWORD

log = structlog.get_logger()

Fields: TypeAlias = dict[str, Any]
Header: TypeAlias = Callable[[str], str | None]  # the value of a header, by its lower-case name


@dataclass(frozen=True, slots=True)
class Call:
    """One call: how its messages are read and written, and who does the work."""

    path: str
    run: Callable[[House, Asked, Fields], Answer]
    schema: WireSchema
    request: type[Message]
    response: type[Message]
    is_deprecated: bool = False


V1_CALL = Call(
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
        Call(
            "/zitadel.user.v2.UserService/PasswordReset",
            reset_password,
            PASSWORD_RESET,
            user_pb2.PasswordResetRequest,
            user_pb2.PasswordResetResponse,
        ),
        Call(
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


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller is told, and the headers beside it."""

    outcome: Answer | Problem
    headers: tuple[tuple[str, str], ...]  # the request's id comes first

    @property
    def request_id(self) -> str:
        """The id under which it is logged."""
        return self.headers[0][1]


def answer_call(house: House, call: Call, header: Header, read: Callable[[], Fields]) -> Told:
    """Read, ask the use case, and put whatever happens into one shape.

    `read` gives the decoded message; it may raise ProblemError too.
    """
    asked = read_asked(header)
    headers = (("x-request-id", asked.request_id), *standing_headers(house, call))
    try:
        with tracing.span(call.path[1:], parent=header("traceparent"), kind="server"):
            answer = call.run(house, asked, read())
    except ProblemError as error:
        return Told(error.problem, headers)
    except CallerError as error:
        language = house.languages.choose_for_header(header("accept-language"))
        return Told(describe(error, house.languages, language), headers)
    except Exception as error:  # the outermost loop of a call
        log.error("request.failed", request_id=asked.request_id, exc_info=error)
        return Told(UNEXPECTED, headers)
    if answer.reset_id:
        headers = (*headers, ("keyturn-reset-id", answer.reset_id))
    return Told(answer, headers)


def read_asked(header: Header) -> Asked:
    """What stands beside the message."""
    return Asked(
        Credentials(header("authorization"), header("x-zitadel-orgid") or None),
        header("idempotency-key"),
        name_request(header("x-request-id")),
    )


def read_message(body: bytes, kind: type[Message]) -> Fields:
    """The fields that stand in a binary message, named as the schemas of the JSON name them.

    Raises:
        InvalidRequestError: it is no message of this kind.
    """
    try:
        return _fields_of(kind.FromString(body))
    except DecodeError as error:
        raise InvalidRequestError("the message cannot be decoded") from error


def write_message(answer: Answer, kind: type[Message]) -> bytes:
    """The answer as a binary message."""
    return ParseDict(answer.body, kind()).SerializeToString()


def _fields_of(message: Message) -> Fields:
    return {
        field.name: _fields_of(value) if isinstance(value, Message) else value
        for field, value in message.ListFields()
    }


def standing_headers(house: House, call: Call) -> tuple[tuple[str, str], ...]:
    """What every answer of a call says, refusals included."""
    if not call.is_deprecated:
        return ()
    successor = f'<{house.settings.link_base}{SUCCESSOR}>; rel="successor-version"'
    return (("deprecation", DEPRECATED_SINCE), ("link", successor))
