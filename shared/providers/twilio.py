"""Send SMS through Twilio: the official package builds the requests, our transport carries them.

The package's own HTTP client has no timeout by default and costs several times the CPU time; its
HttpClient class is meant to be replaced.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson

from shared.errors import DoubtfulProviderError, SettingsError, TransientProviderError
from shared.models import Channel, Outcome, Receipt, Sms
from shared.providers import failures
from shared.providers.callbacks import TWILIO_PATH
from shared.providers.failures import Failure, failure_of_status, retry_after_seconds
from shared.providers.message_checks import checked_number, clean_text, message_id
from shared.providers.transport.http import HttpAnswer, Transport
from shared.settings import TwilioAccount

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from twilio.http.response import Response

MAX_VALIDITY_SECONDS = 36000  # source: Twilio's ValidityPeriod
LOOK_BACK = timedelta(hours=1)  # so soon after midnight (GMT) yesterday's messages count too
PAGE_SIZE = 100
NOT_TAKEN = ("failed", "canceled")
LISTED_FIELDS = ("sid", "body", "direction", "status")

_TRANSIENT, _ACCOUNT, _PERMANENT = Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.PERMANENT

_BAD_NUMBER = Failure(_PERMANENT, "no SMS can be sent to this number", suppression="bad_number")
_LOGIN = Failure(_ACCOUNT, "Twilio does not take our login, or the account is not active")
_SENDER = Failure(_ACCOUNT, "our sender cannot be used for this route", is_one_route=True)
_BROKEN = Failure(_TRANSIENT, "Twilio has trouble")
_LATE = Failure(Outcome.DOUBT, "Twilio failed after a long wait; it may have taken the SMS")
# For 15 to 30 minutes, longer than an SMS's code lives; no failover may bypass it.
_BLOCKED = Failure(
    _PERMANENT, "Twilio suspects SMS pumping and blocks this number; ask again in half an hour"
)

# Source: https://www.twilio.com/docs/api/errors
# Numbers from 30001 usually come later, by callback; some may come at once.
CODES = {
    20003: _LOGIN,
    20005: _LOGIN,
    20404: Failure(_ACCOUNT, "Twilio does not know the account; check KEYTURN_TWILIO_ACCOUNT_SID"),
    20429: Failure(_TRANSIENT, "too many requests at a time; this one was never processed"),
    20500: _BROKEN,
    20503: _BROKEN,
    21211: _BAD_NUMBER,
    21217: _BAD_NUMBER,
    21408: Failure(_PERMANENT, "our Twilio account may not send to this region", is_one_route=True),
    21421: _BAD_NUMBER,
    21606: _SENDER,
    21608: Failure(
        _ACCOUNT, "a trial account writes to numbers it has verified only", is_one_route=True
    ),
    21610: Failure(_PERMANENT, "the recipient sent STOP to our sender", suppression="opt_out"),
    21611: Failure(_TRANSIENT, "our sender's queue is full"),
    21612: _SENDER,
    21614: _BAD_NUMBER,
    21617: Failure(_PERMANENT, "the text is too long"),
    21619: Failure(_PERMANENT, "the text is missing"),
    21635: _BAD_NUMBER,
    21659: _SENDER,
    21660: _SENDER,
    21730: Failure(_TRANSIENT, "Twilio is under maintenance"),
    30001: Failure(_TRANSIENT, "our sender's queue is full"),
    30002: Failure(_ACCOUNT, "our Twilio account is suspended"),
    30003: Failure(_TRANSIENT, "the handset cannot be reached now", is_one_route=True),
    30004: Failure(_PERMANENT, "the handset or its carrier blocks our messages"),
    30005: _BAD_NUMBER,
    30006: _BAD_NUMBER,
    30007: Failure(_PERMANENT, "a carrier filtered the message; our sender needs attention"),
    30008: Failure(
        _TRANSIENT, "the carrier failed for a reason it does not tell", is_one_route=True
    ),
    30032: Failure(_ACCOUNT, "our toll-free sender is not verified", is_one_route=True),
    30034: Failure(_ACCOUNT, "our sender is not registered (10DLC)", is_one_route=True),
    30036: Failure(_PERMANENT, "the validity period was over"),
    30410: Failure(
        Outcome.DOUBT,
        "the carrier did not answer Twilio in time; it may have the SMS",
        is_one_route=True,
    ),
    30450: _BLOCKED,
    30453: _BLOCKED,
}
# For an answer without an error number, or with one not listed above.
STATUSES = {
    400: Failure(_PERMANENT, "Twilio found the request wrong"),
    401: _LOGIN,
    403: _LOGIN,
    404: Failure(
        _ACCOUNT, "this is not our account at Twilio; check the account and the API's URL"
    ),
    405: Failure(_ACCOUNT, "this is not Twilio's API; check KEYTURN_TWILIO_API_URL"),
    429: Failure(_TRANSIENT, "too many requests at a time; this one was never processed"),
    500: _BROKEN,
    502: Failure(Outcome.DOUBT, "Twilio's edge answered; the SMS may have been taken behind it"),
    503: _BROKEN,
    504: Failure(Outcome.DOUBT, "Twilio's edge answered; the SMS may have been taken behind it"),
}


class Twilio:
    """Twilio's Programmable Messaging, by one account."""

    channel = Channel.SMS

    def __init__(
        self,
        account: TwilioAccount,
        *,
        timeout_seconds: float,
        callback_path: str = TWILIO_PATH,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`callback_path` takes the reports; `tls` and `clock` (epoch seconds) are for tests.

        Raises:
            SettingsError: the account's id would change the path of the calls.
        """
        from twilio.rest import Client  # noqa: PLC0415 - loads requests, for accounts alone

        if not account.account_sid.isalnum():
            raise SettingsError(f"{account.prefix}ACCOUNT_SID must be letters and digits: AC…")
        self.name = account.provider
        self._clock, self._callback_path = clock, callback_path
        # MaxPrice has had no effect at Twilio since 2024-06-03; it is passed on where it is set.
        options = {"max_price": account.max_price, "risk_check": account.risk_check}
        self._options = {name: value for name, value in options.items() if value}
        self._transport = Transport(account.api_url, timeout_seconds=timeout_seconds, tls=tls)
        self._messages = Client(
            *account.login,
            account_sid=account.account_sid,
            http_client=_HttpClient(self._transport, clock),
        ).messages
        self._sender = (
            {"messaging_service_sid": account.messaging_service_sid}
            if account.messaging_service_sid
            else {"from_": account.from_}
        )

    def send(self, message: Sms) -> Receipt:
        """See Provider."""
        callback = message.callback_url.replace(f"{TWILIO_PATH}?", f"{self._callback_path}?", 1)
        optional = {"status_callback": callback} if callback else {}
        taken = self._messages.create(
            to=checked_number(message),
            body=clean_text(message.body),
            validity_period=min(max(int(message.validity_seconds), 1), MAX_VALIDITY_SECONDS),
            **self._sender,
            **self._options,
            **optional,
        )
        return Receipt(message_id(taken.sid))

    def find(self, message: Sms) -> Receipt | None:
        """See SearchableProvider. A message with the same number and text counts as this one."""
        from twilio.base.exceptions import TwilioException  # noqa: PLC0415

        now = datetime.fromtimestamp(self._clock(), UTC)
        yesterday = (now - LOOK_BACK).date()
        is_past_midnight = yesterday < now.date()
        days = {"date_sent_after": yesterday} if is_past_midnight else {"date_sent": now.date()}
        try:
            page = self._messages.page(to=checked_number(message), page_size=PAGE_SIZE, **days)
            found = next((each for each in page if _is_same(each, message)), None)
        except DoubtfulProviderError as error:
            raise TransientProviderError(error.reason, "Twilio could not be asked") from error
        except TwilioException:
            # Its text repeats what Twilio wrote.
            raise TransientProviderError("list_unreadable", "Twilio's list has no shape") from None
        return None if found is None else Receipt(message_id(found.sid))

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()


def _is_same(listed: Any, message: Sms) -> bool:
    return (
        listed.body == clean_text(message.body)
        and str(listed.direction or "").startswith("outbound")
        and listed.status not in NOT_TAKEN
    )


class _HttpClient:
    """Sends what the official client builds, in place of its HttpClient; raises our errors."""

    def __init__(self, transport: Transport, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._clock = clock

    def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the transport has ours
        allow_redirects: bool = False,  # noqa: ARG002, FBT001, FBT002 - never
    ) -> Response:
        from twilio.http.response import Response  # noqa: PLC0415

        target = urlsplit(uri).path + (f"?{urlencode(params)}" if params else "")
        all_headers = dict(headers or {})
        if auth is not None:
            all_headers["Authorization"] = _basic(*auth)
        body = urlencode(data or {}).encode()
        answer = self._transport.call(method, target, headers=all_headers, body=body)
        content = _content(answer)
        if answer.status // 100 != 2:  # noqa: PLR2004
            self._raise(answer, content)
        return Response(answer.status, orjson.dumps(_read_fields(method, content)).decode())

    def _raise(self, answer: HttpAnswer, content: dict[str, Any]) -> None:
        reason, failure = failure_of(
            answer.status, content.get("code"), waited_seconds=answer.waited_seconds
        )
        wait = retry_after_seconds(answer.headers, now=self._clock())
        raise failure.error(reason, retry_after_seconds=wait)


def _basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


def _content(answer: HttpAnswer) -> dict[str, Any]:
    """Return the answer's JSON object, or an empty one."""
    try:
        content = orjson.loads(answer.body) if answer.is_complete else None
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_fields(method: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a 2xx that we read: the client would fail on odd dates in others.

    Raises:
        DoubtfulProviderError: they are missing.
    """
    listed = content.get("messages")
    if method == "GET" and isinstance(listed, list):
        rows = [row for row in listed if isinstance(row, dict)]
        return {"messages": [{name: row.get(name) for name in LISTED_FIELDS} for row in rows]}
    if method != "GET" and message_id(content.get("sid")) is not None:
        return {"sid": content["sid"]}
    raise DoubtfulProviderError(
        "answer_garbage", "Twilio said yes without saying which message; it may have it"
    )


def failure_of(status: int, code: object, *, waited_seconds: float) -> tuple[str, Failure]:
    """Return the reason's word and what it means; Twilio's error number counts first."""
    known = CODES.get(code) if isinstance(code, int) else None
    failure = known or failure_of_status(status, STATUSES)
    reason = f"twilio_{code}" if known else f"http_{status}"
    if failure is _BROKEN and waited_seconds > failures.LONG_WAIT_SECONDS:
        return reason, _LATE
    return reason, failure
