"""Send messages through an HTTP gateway: a signed POST that tells everything about one message.

docs/gateways.md is written for those who build the other end.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from shared.models import Channel, Email, Message, Outcome, Receipt
from shared.providers import failures
from shared.providers.failures import Failure, failure_of_status, retry_after_seconds
from shared.providers.message_checks import (
    checked_address,
    checked_number,
    clean_text,
    message_id,
    one_line,
)
from shared.providers.transport.http import Transport
from shared.providers.transport.signing import signed_headers
from shared.validation import format_timestamp

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.providers.transport.http import HttpAnswer
    from shared.settings import Gateway

_ACCOUNT, _TRANSIENT, _PERMANENT = Outcome.ACCOUNT, Outcome.TRANSIENT, Outcome.PERMANENT
_BROKEN = Failure(_TRANSIENT, "the gateway has trouble")
_EDGE = Failure(Outcome.DOUBT, "the gateway's edge answered; the message may have been taken")
_LATE = Failure(Outcome.DOUBT, "the gateway failed after a long wait; it may have the message")
_AWAY = Failure(_ACCOUNT, "this is not the gateway's address; check its URL")
# Any 2xx is taken. Other statuses: shared/providers/failures.py.
STATUSES = {
    400: Failure(_PERMANENT, "the gateway found the call malformed"),
    401: Failure(_ACCOUNT, "the gateway does not take our signature; check its secret"),
    402: Failure(_ACCOUNT, "the gateway's credit is used up"),
    403: Failure(_ACCOUNT, "the gateway does not let us send"),
    404: _AWAY,
    405: _AWAY,
    408: Failure(_TRANSIENT, "the gateway did not read the call in time"),
    410: Failure(_PERMANENT, "the gateway does not send to this recipient any more"),
    413: Failure(_PERMANENT, "the message is too large for the gateway", is_one_route=True),
    415: Failure(_ACCOUNT, "the gateway does not read JSON"),
    422: Failure(_PERMANENT, "the gateway cannot send this message"),
    429: Failure(_TRANSIENT, "the gateway asks for fewer calls"),
    500: _BROKEN,
    502: _EDGE,
    503: _BROKEN,
    504: _EDGE,
}
# A 4xx may say why, as {"reason": "opt_out"}: one of these words, which counts before the status.
REASONS = {
    "bad_number": Failure(_PERMANENT, "nothing can be sent to this number", "bad_number"),
    "bounce": Failure(_PERMANENT, "the address does not exist", "bounce"),
    "complaint": Failure(_PERMANENT, "the recipient reported our messages", "complaint"),
    "opt_out": Failure(_PERMANENT, "the recipient wants no more messages", "opt_out"),
    "blocked": Failure(_PERMANENT, "the gateway blocks this recipient or this text"),
    "no_route": Failure(_PERMANENT, "the gateway cannot reach this recipient", is_one_route=True),
    "no_credit": STATUSES[402],
    "busy": STATUSES[429],
}


class HttpProvider:
    """One HTTP gateway, for one channel."""

    def __init__(
        self,
        channel: Channel,
        gateway: Gateway,
        *,
        timeout_seconds: float,
        may_reach: Callable[[str], bool] | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`may_reach` judges network addresses; `tls` and `clock` (epoch seconds) are for tests."""
        parts = urlsplit(gateway.url)
        self.name, self.channel = gateway.provider, channel
        self._secrets, self._clock = gateway.secret, clock
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._transport = Transport(
            f"{parts.scheme}://{parts.netloc}",
            timeout_seconds=timeout_seconds,
            tls=tls,
            may_reach=may_reach,
        )

    def send(self, message: Message) -> Receipt:
        """See Provider."""
        body = orjson.dumps(build_call(message))
        at = int(self._clock())
        headers = signed_headers(self._secrets, one_line(message.reset_id), at, body)
        answer = self._transport.call("POST", self._target, headers=headers, body=body)
        content = _content(answer)
        if answer.status // 100 == 2:  # noqa: PLR2004 - taken, even if the body is cut
            return Receipt(message_id(content.get("id")))
        reason, failure = failure_of(answer, content.get("reason"))
        raise failure.error(reason, retry_after_seconds=retry_after_seconds(answer.headers, now=at))

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()


def build_call(message: Message) -> dict[str, Any]:
    """Return the JSON that tells a gateway everything about a message."""
    call = {
        "resetId": message.reset_id,
        "orgId": message.org_id,
        "language": message.language,
        "senderName": clean_text(one_line(message.from_name)),
        "code": message.code or None,
        "link": message.link or None,
        "deadline": format_timestamp(message.deadline_at, precision="seconds"),
    }
    if isinstance(message, Email):
        return call | {
            "channel": Channel.EMAIL,
            "recipient": checked_address(message),
            "senderAddress": message.from_address,
            "messageId": message.message_id,
            "subject": clean_text(one_line(message.subject)),
            "text": clean_text(message.text),
            "html": clean_text(message.whole_html),
        }
    return call | {
        "channel": Channel.SMS,
        "recipient": checked_number(message),
        "subject": None,
        "text": clean_text(message.body),
        "html": None,
    }


def _content(answer: HttpAnswer) -> dict[str, Any]:
    """Return the answer's JSON object, or an empty one."""
    try:
        content = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def failure_of(answer: HttpAnswer, word: object) -> tuple[str, Failure]:
    """Return the reason's word and what it means; a reason the gateway gives counts first."""
    known = REASONS.get(word) if isinstance(word, str) and answer.status // 100 == 4 else None  # noqa: PLR2004
    if known:
        return f"http_{word}", known
    failure = failure_of_status(answer.status, STATUSES)
    if failure is _BROKEN and answer.waited_seconds > failures.LONG_WAIT_SECONDS:
        failure = _LATE
    return f"http_{answer.status}", failure
