"""Callbacks as the providers make and sign them, by the official packages where they can sign."""

from __future__ import annotations

import base64
import json
import time
from itertools import count
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twilio.request_validator import RequestValidator

from tests.support.builders import PUBLIC_URL

TWILIO_SID = "AC00000000000000000000000000000001"
TWILIO_TOKEN = "twilio's auth token"
_numbers = count(1)


class SendGridKey:
    """SendGrid's half of the Event Webhook's key."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        """As SendGrid's console shows it."""
        key = self._private.public_key()
        spelled = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(spelled).decode()

    def headers(self, body: bytes, *, timestamp: str | None = None) -> dict[str, str]:
        """What proves that SendGrid posted this body."""
        stamp = timestamp or str(int(time.time()))
        signature = self._private.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
            "Content-Type": "application/json",
        }


def a_mail_event(event: str, reset_id: str | None, /, **fields):
    """One event of SendGrid's; it names the address, as theirs do."""
    told = {
        "email": "ada@example.com",
        "timestamp": int(time.time()),
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": event,
        "sg_event_id": f"event-{next(_numbers)}",
        "sg_message_id": "m1.recvd-canary-6b6d8d5cc-x7zgp-1-6479EA50-9.0",
    }
    if reset_id is not None:
        told["keyturn_reset_id"] = reset_id
    return told | fields


def a_body(*events) -> bytes:
    """A post of SendGrid's."""
    return json.dumps(list(events)).encode()


def a_status(status: str, *, sid: str = "SM1", **fields: str) -> dict[str, str]:
    """The form of Twilio's callback; it names the number, as theirs do."""
    form = {
        "MessageSid": sid,
        "SmsSid": sid,
        "MessageStatus": status,
        "SmsStatus": status,
        "AccountSid": TWILIO_SID,
        "From": "+41790000000",
        "To": "+41791234567",
        "ApiVersion": "2010-04-01",
    }
    return form | fields


def twilio_query(reset_id: str) -> str:
    """What stands behind the question mark."""
    return f"resetId={reset_id}"


def twilio_headers(
    query: str, form: dict[str, str], *, token: str = TWILIO_TOKEN, base: str = PUBLIC_URL
) -> dict[str, str]:
    """What proves that Twilio posted this form to this URL."""
    signature = RequestValidator(token).compute_signature(f"{base}/callbacks/twilio?{query}", form)
    return {
        "X-Twilio-Signature": signature,
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    }


def form_body(form: dict[str, str]) -> bytes:
    """The form as it is posted."""
    return urlencode(form).encode()
