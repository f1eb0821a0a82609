"""Send mails through SendGrid: the official package builds the payload, our transport carries it.

The package's own client opens a connection and a TLS context for every mail, which costs a
hundred times the CPU time (bench/).
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import orjson
from sendgrid.helpers.mail import (
    Attachment,
    ClickTracking,
    Content,
    CustomArg,
    From,
    Ganalytics,
    Header,
    Mail,
    OpenTracking,
    Personalization,
    ReplyTo,
    Subject,
    SubscriptionTracking,
    To,
    TrackingSettings,
)

from shared.errors import ProviderError, SettingsError
from shared.models import BulkEmail, Channel, Email, Outcome, Receipt
from shared.providers import failures
from shared.providers.failures import Failure, failure_of_status, retry_after_seconds
from shared.providers.message_checks import (
    checked_address,
    clean_text,
    message_headers,
    message_id,
    one_line,
    sendable,
)
from shared.providers.sendgrid_bulk import MALFORMED, MAX_RECIPIENTS, RESET_ID_ARG, BulkRequest
from shared.providers.transport.http import Transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.providers import BulkOutcome
    from shared.providers.transport.http import HttpAnswer
    from shared.settings import Settings

PATH = "/v3/mail/send"

_BROKEN = Failure(Outcome.TRANSIENT, "SendGrid has trouble")
_UNAVAILABLE = Failure(Outcome.TRANSIENT, "SendGrid is out of service")
_LATE = Failure(Outcome.DOUBT, "SendGrid failed after a long wait; it may have taken the mail")
# Any 2xx is accepted: 202, and 200 in sandbox mode. Other statuses: shared/providers/failures.py.
# Source: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send and …/rate-limits
STATUSES = {
    400: Failure(Outcome.PERMANENT, "SendGrid found the mail malformed"),
    401: Failure(Outcome.ACCOUNT, "SendGrid does not take our API key, or our credits are used up"),
    403: Failure(Outcome.ACCOUNT, "SendGrid does not let us send: sender not verified, key scope"),
    404: Failure(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    405: Failure(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    406: Failure(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    413: Failure(Outcome.PERMANENT, "the mail is too large for SendGrid", is_one_route=True),
    415: Failure(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    429: Failure(Outcome.TRANSIENT, "SendGrid asks for fewer requests"),
    451: Failure(Outcome.ACCOUNT, "SendGrid may not send this from this region (data residency)"),
    500: _BROKEN,
    502: Failure(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
    503: _UNAVAILABLE,
    504: Failure(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
}
_NO_UTF8 = Failure(
    Outcome.PERMANENT, "SendGrid takes ASCII addresses only, it seems", is_one_route=True
)
# A 401 or 403 about used-up credits, not the key, says so in words alone.
_NO_CREDITS = Failure(Outcome.ACCOUNT, "our credits at SendGrid are used up")
_NO_CREDITS_WORDS = b"credits exceeded"
_NO_CREDITS_STATUSES = (401, 403)


class SendGrid:
    """SendGrid's v3 mail API."""

    name = "sendgrid"
    channel = Channel.EMAIL
    max_recipients = MAX_RECIPIENTS

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
        if answer.status // 100 == 2:  # noqa: PLR2004 - accepted, even if the body is cut
            return Receipt(message_id(answer.headers.get("X-Message-Id")))
        if answer.status == MALFORMED and not checked_address(message).isascii():
            raise _NO_UTF8.error(f"http_{answer.status}")
        raise self._error(answer)

    def send_bulk(self, email: BulkEmail) -> list[BulkOutcome]:
        """See BulkProvider."""
        request = BulkRequest(email, shared_payload(email))
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
        reason, failure = failure_of(answer)
        wait = retry_after_seconds(answer.headers, now=self._clock())
        return failure.error(reason, retry_after_seconds=wait)

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()


def build_payload(email: Email) -> dict[str, Any]:
    """Return the request's JSON, built by the official helpers (20 µs)."""
    mail = _begin(email)
    mail.add_personalization(_personalization(email))
    for name, value in message_headers(email).items():
        mail.add_header(Header(name, value))
    payload: dict[str, Any] = mail.get()
    return payload


def shared_payload(email: BulkEmail) -> dict[str, Any]:
    """Return the JSON without recipients, built by the official helpers."""
    payload: dict[str, Any] = _begin(email).get()
    return payload


def _begin(email: Email | BulkEmail) -> Mail:
    mail = Mail()
    mail.from_email = From(sendable(email.from_address), one_line(email.from_name))
    mail.subject = Subject(one_line(email.subject))
    mail.add_content(Content("text/plain", clean_text(email.text)))
    mail.add_content(Content("text/html", clean_text(email.html)))
    mail.tracking_settings = _no_tracking()
    if email.reply_to:
        mail.reply_to = ReplyTo(sendable(email.reply_to))
    if logo := email.logo:
        mail.add_attachment(
            Attachment(logo.base64, logo.file_name, logo.media_type, "inline", logo.content_id)
        )
    return mail


def _personalization(email: Email) -> Personalization:
    recipient = To()
    recipient.email = checked_address(email)  # given to To(), it would be parsed for a name
    personalization = Personalization()
    personalization.add_to(recipient)
    personalization.add_custom_arg(CustomArg(RESET_ID_ARG, email.reset_id))
    return personalization


def _no_tracking() -> TrackingSettings:
    """Turn off what an account may have switched on, and what would change our mails.

    Rewritten links would pass the code to SendGrid's redirect servers; Analytics writes into
    links; a footer and a header to unsubscribe have no place in a mail that was asked for.
    """
    tracking = TrackingSettings()
    tracking.click_tracking = ClickTracking(enable=False, enable_text=False)
    tracking.open_tracking = OpenTracking(enable=False)
    tracking.subscription_tracking = SubscriptionTracking(enable=False)
    tracking.ganalytics = Ganalytics(enable=False)
    return tracking


def failure_of(answer: HttpAnswer) -> tuple[str, Failure]:
    """Return the reason's word and what it means."""
    if answer.status in _NO_CREDITS_STATUSES and _NO_CREDITS_WORDS in answer.body.lower():
        return "credits_used_up", _NO_CREDITS
    failure = failure_of_status(answer.status, STATUSES)
    if failure in (_BROKEN, _UNAVAILABLE) and answer.waited_seconds > failures.LONG_WAIT_SECONDS:
        failure = _LATE
    return f"http_{answer.status}", failure
