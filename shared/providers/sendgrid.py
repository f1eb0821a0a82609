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

from shared.errors import SettingsError
from shared.models import Channel, Email, Outcome, Receipt
from shared.providers.http import Transport
from shared.providers.mail import own_headers
from shared.providers.refusals import (
    Refusal,
    message_id,
    refusal_of_status,
    retry_after_seconds,
)
from shared.providers.soundness import checked_address, one_line, sound_text

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.settings import Settings

# Any 2xx is accepted: 202, and 200 in sandbox mode. All other statuses: shared/providers/refusals.
# Source: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send and …/rate-limits
STATUSES = {
    400: Refusal(Outcome.PERMANENT, "SendGrid found the mail malformed"),
    401: Refusal(Outcome.ACCOUNT, "SendGrid does not take our API key, or our credits are used up"),
    403: Refusal(Outcome.ACCOUNT, "SendGrid does not let us send: sender not verified, key scope"),
    404: Refusal(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    405: Refusal(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    406: Refusal(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    413: Refusal(Outcome.PERMANENT, "the mail is too large for SendGrid"),
    415: Refusal(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    429: Refusal(Outcome.TRANSIENT, "SendGrid asks for fewer requests"),
    451: Refusal(Outcome.ACCOUNT, "SendGrid may not send this from this region (data residency)"),
    500: Refusal(Outcome.TRANSIENT, "SendGrid has trouble"),
    502: Refusal(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
    503: Refusal(Outcome.TRANSIENT, "SendGrid is out of service"),
    504: Refusal(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
}
PATH = "/v3/mail/send"
RESET_ID_ARG = "keyturn_reset_id"  # comes back in every event


class SendGrid:
    """SendGrid's v3 mail API."""

    name = "sendgrid"
    channel = Channel.EMAIL

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
        body = orjson.dumps(build_payload(message))
        answer = self._transport.call("POST", PATH, headers=self._headers, body=body)
        if answer.status // 100 == 2:  # noqa: PLR2004 - accepted, whatever became of the body
            return Receipt(message_id(answer.headers.get("X-Message-Id")))
        raise refusal_of_status(answer.status, STATUSES).error(
            f"http_{answer.status}",
            retry_after_seconds=retry_after_seconds(answer.headers, now=self._clock()),
        )

    def close(self) -> None:
        """Drop the idle connections."""
        self._transport.close()


def build_payload(email: Email) -> dict[str, Any]:
    """The request's JSON, by the official helpers (20 µs)."""
    mail = Mail()
    mail.from_email = From(email.from_address, one_line(email.from_name))
    mail.subject = Subject(one_line(email.subject))
    mail.add_personalization(_personalization(email))
    mail.add_content(Content("text/plain", sound_text(email.text)))
    mail.add_content(Content("text/html", sound_text(email.html)))
    for name, value in own_headers(email).items():
        mail.add_header(Header(name, value))
    mail.tracking_settings = _no_tracking()
    payload: dict[str, Any] = mail.get()
    return payload


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
