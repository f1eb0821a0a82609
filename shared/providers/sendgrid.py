"""Hands mails to SendGrid: the official package builds the payload, our transport carries it.

The package's own client opens a connection and a TLS context for every mail, which costs a
hundred times the processor time (bench/).
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import orjson
from sendgrid.helpers.mail import (
    ClickTracking,
    Content,
    CustomArg,
    From,
    Header,
    Mail,
    OpenTracking,
    Personalization,
    Subject,
    To,
    TrackingSettings,
)

from shared.errors import ProviderError, SettingsError
from shared.models import Channel, Email, Receipt
from shared.providers import sendgrid_circular
from shared.providers.http import Transport
from shared.providers.mail import own_headers
from shared.providers.refusals import message_id, retry_after_seconds
from shared.providers.sendgrid_circular import RESET_ID_ARG, CircularRequest
from shared.providers.sendgrid_refusals import refusal_of
from shared.providers.soundness import checked_address, one_line, sound_text

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.circulars import Circular
    from shared.providers import CopyOutcome
    from shared.providers.http import HttpAnswer
    from shared.settings import Settings

PATH = "/v3/mail/send"


class SendGrid:
    """SendGrid's v3 mail API."""

    name = "sendgrid"
    channel = Channel.EMAIL
    most_copies = sendgrid_circular.MOST_COPIES

    def __init__(
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`tls` and `clock` (epoch seconds) are for tests."""
        key = settings.sendgrid_api_key
        if not key.isascii() or not key.isprintable():
            raise SettingsError("KEYTURN_SENDGRID_API_KEY must be one line of ASCII characters")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._transport = Transport(
            settings.sendgrid_api_url, timeout_seconds=settings.provider_timeout_seconds, tls=tls
        )
        self._clock = clock

    def send(self, message: Email) -> Receipt:
        """See Provider."""
        answer = self._call(build_payload(message))
        if answer.status // 100 == 2:  # noqa: PLR2004 - accepted, whatever became of the body
            return Receipt(message_id(answer.headers.get("X-Message-Id")))
        raise self._error(answer)

    def send_many(self, circular: Circular) -> list[CopyOutcome]:
        """See ManyProvider."""
        request = CircularRequest(circular, shared_payload(circular))
        if not request.payload["personalizations"]:
            return request.outcomes()
        try:
            answer = self._call(request.payload)
        except ProviderError as error:
            return request.outcomes(error)
        if answer.status // 100 == 2:  # noqa: PLR2004 - as above
            return request.outcomes(Receipt(message_id(answer.headers.get("X-Message-Id"))))
        return request.outcomes(self._error(answer), refused_by=answer)

    def _call(self, payload: dict[str, Any]) -> HttpAnswer:
        return self._transport.call("POST", PATH, headers=self._headers, body=orjson.dumps(payload))

    def _error(self, answer: HttpAnswer) -> ProviderError:
        reason, refusal = refusal_of(answer)
        wait = retry_after_seconds(answer.headers, now=self._clock())
        return refusal.error(reason, retry_after_seconds=wait)

    def close(self) -> None:
        """Drop the idle connections."""
        self._transport.close()


def build_payload(email: Email) -> dict[str, Any]:
    """The request's JSON, by the official helpers (20 µs)."""
    mail = _begin(email)
    mail.add_personalization(_personalization(email))
    for name, value in own_headers(email).items():
        mail.add_header(Header(name, value))
    payload: dict[str, Any] = mail.get()
    return payload


def shared_payload(circular: Circular) -> dict[str, Any]:
    """What all copies of a circular share, by the official helpers."""
    payload: dict[str, Any] = _begin(circular).get()
    return payload


def _begin(letter: Email | Circular) -> Mail:
    mail = Mail()
    mail.from_email = From(letter.from_address, one_line(letter.from_name))
    mail.subject = Subject(one_line(letter.subject))
    mail.add_content(Content("text/plain", sound_text(letter.text)))
    mail.add_content(Content("text/html", sound_text(letter.html)))
    mail.tracking_settings = _no_tracking()
    return mail


def _personalization(email: Email) -> Personalization:
    recipient = To()
    recipient.email = checked_address(email)  # given to To(), it would be parsed for a name
    personalization = Personalization()
    personalization.add_to(recipient)
    personalization.add_custom_arg(CustomArg(RESET_ID_ARG, email.reset_id))
    return personalization


def _no_tracking() -> TrackingSettings:
    """Rewritten links would tell the code to others and be opened before the reader does."""
    tracking = TrackingSettings()
    tracking.click_tracking = ClickTracking(enable=False, enable_text=False)
    tracking.open_tracking = OpenTracking(enable=False)
    return tracking
