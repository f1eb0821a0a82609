"""Hands SMS to Twilio: the official package builds the requests, our transport carries them.

The package's own HTTP client has no timeout by default and costs several times the processor
time; giving it another one is what its HttpClient class is for.
"""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson
from twilio.base.exceptions import TwilioException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from shared.errors import DoubtfulProviderError, SettingsError, TransientProviderError
from shared.models import Channel, Receipt, Sms
from shared.providers.http import HttpAnswer, Transport
from shared.providers.refusals import message_id, retry_after_seconds
from shared.providers.soundness import checked_number, sound_text
from shared.providers.twilio_refusals import refusal_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.twilio_account import TwilioAccount

MOST_VALIDITY_SECONDS = 36000  # source: Twilio's ValidityPeriod
LOOK_BACK = timedelta(hours=1)  # so soon after midnight (GMT) yesterday's messages count too
PAGE_SIZE = 100
NOT_TAKEN = ("failed", "canceled")
LISTED_FACTS = ("sid", "body", "direction", "status")


class Twilio:
    """Twilio's Programmable Messaging, by one account."""

    channel = Channel.SMS

    def __init__(
        self,
        account: TwilioAccount,
        *,
        timeout_seconds: float,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`tls` and `clock` (epoch seconds) are for tests.

        Raises:
            SettingsError: the account's id would bend the path of the calls.
        """
        if not account.account_sid.isalnum():
            raise SettingsError(f"{account.prefix}_ACCOUNT_SID must be letters and digits: AC…")
        self.name = account.provider
        self._clock = clock
        self._transport = Transport(account.api_url, timeout_seconds=timeout_seconds, tls=tls)
        self._messages = Client(
            *account.login,
            account_sid=account.account_sid,
            http_client=_Carrier(self._transport, clock),
        ).messages
        self._sender = (
            {"messaging_service_sid": account.messaging_service_sid}
            if account.messaging_service_sid
            else {"from_": account.sender_number}
        )

    def send(self, message: Sms) -> Receipt:
        """See Provider."""
        optional = {"status_callback": message.callback_url} if message.callback_url else {}
        taken = self._messages.create(
            to=checked_number(message),
            body=sound_text(message.body),
            validity_period=min(max(int(message.validity_seconds), 1), MOST_VALIDITY_SECONDS),
            **self._sender,
            **optional,
        )
        return Receipt(message_id(taken.sid))

    def find(self, message: Sms) -> Receipt | None:
        """See SearchableProvider. The same number and the very same text is the same message."""
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
        """Drop the idle connections."""
        self._transport.close()


def _is_same(listed: Any, message: Sms) -> bool:
    return (
        listed.body == sound_text(message.body)
        and str(listed.direction or "").startswith("outbound")
        and listed.status not in NOT_TAKEN
    )


class _Carrier(HttpClient):  # type: ignore[misc]  # twilio has no types
    """Carries what the official client builds; every No leaves as one of our errors."""

    def __init__(self, transport: Transport, clock: Callable[[], float]) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False)
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
        target = urlsplit(uri).path + (f"?{urlencode(params)}" if params else "")
        all_headers = dict(headers or {})
        if auth is not None:
            all_headers["Authorization"] = _basic(*auth)
        body = urlencode(data or {}).encode()
        answer = self._transport.call(method, target, headers=all_headers, body=body)
        content = _content(answer)
        if answer.status // 100 != 2:  # noqa: PLR2004
            self._refuse(answer, content)
        return Response(answer.status, orjson.dumps(_needed(method, content)).decode())

    def _refuse(self, answer: HttpAnswer, content: dict[str, Any]) -> None:
        reason, refusal = refusal_of(
            answer.status, content.get("code"), waited_seconds=answer.waited_seconds
        )
        wait = retry_after_seconds(answer.headers, now=self._clock())
        raise refusal.error(reason, retry_after_seconds=wait)


def _basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


def _content(answer: HttpAnswer) -> dict[str, Any]:
    """The answer's JSON object; empty when it is none."""
    try:
        content = orjson.loads(answer.body) if answer.is_complete else None
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _needed(method: str, content: dict[str, Any]) -> dict[str, Any]:
    """The facts of a yes that we read, and no others: the client would choke on odd dates.

    Raises:
        DoubtfulProviderError: they are missing.
    """
    listed = content.get("messages")
    if method == "GET" and isinstance(listed, list):
        rows = [row for row in listed if isinstance(row, dict)]
        return {"messages": [{fact: row.get(fact) for fact in LISTED_FACTS} for row in rows]}
    if method != "GET" and message_id(content.get("sid")) is not None:
        return {"sid": content["sid"]}
    raise DoubtfulProviderError(
        "answer_garbage", "Twilio said yes without saying which message; it may have it"
    )
