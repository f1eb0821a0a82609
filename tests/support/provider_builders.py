"""Messages and settings for tests of providers; the secrets in them must never be told."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from pathlib import Path

from shared.models import (
    BulkEmail,
    BulkRecipient,
    Channel,
    Email,
    InlineImage,
    Receipt,
    Recipient,
    Sms,
    format_marker,
)
from shared.settings import Gateway, Settings, TwilioAccount

CODE = "ABCD-EFGH"
NONCE = "5eed5eed5eed5eed"
ADDRESS = "ada.lovelace@example.com"
NUMBER = "+41791234567"
API_KEY = "SG.a-secret-key"
AUTH_TOKEN = "a-secret-token"
PASSWORD = "a-secret-password"
GATEWAY_SECRET = "whsec_" + base64.b64encode(b"the gateway's very own secret ..").decode()
SECRETS = (CODE, "ada.lovelace", NUMBER, "79123", API_KEY, AUTH_TOKEN, PASSWORD, GATEWAY_SECRET)
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
SECOND_ACCOUNT_SID = "AC" + "fedcba9876543210" * 2
LOGO = InlineImage(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
TIMEOUT_SECONDS = 0.4  # where a test waits for it
AMPLE_SECONDS = 5.0  # where it does not


CONTENT = {
    "org_id": "o1",
    "code": CODE,
    "link": f"https://reset.example.com/r/7c0ffee/{CODE}",
    "deadline_at": datetime(2026, 11, 23, 15, 5, tzinfo=UTC),
}


def a_mail(address: str = ADDRESS, **changes) -> Email:
    fields = {
        "reset_id": "7c0ffee0123456789",
        "recipient": Recipient(Channel.EMAIL, address),
        "from_address": "no-reply@keyturn.example",
        "from_name": "Keyturn",
        "subject": "Réinitialisez votre mot de passe",
        "text": f"Grüezi\n.\nYour code: {CODE}\n",
        "html": f"<p>Grüezi</p>\n<p>{CODE}</p>",
        "message_id": "<7c0ffee0123456789@keyturn.example>",
        "language": "fr",
        **CONTENT,
    }
    return Email(**(fields | changes))


def an_sms(number: str = NUMBER, **changes) -> Sms:
    fields = {
        "reset_id": "7c0ffee0123456789",
        "recipient": Recipient(Channel.SMS, number),
        "body": f"{CODE} is your code",
        "callback_url": "https://reset.example.com/callbacks/twilio?resetId=7c0ffee0123456789",
        "validity_seconds": 590,
        "from_name": "Analytical Engines",
        **CONTENT,
    }
    return Sms(**(fields | changes))


def some_settings(**changes) -> Settings:
    """Settings with every provider; `twilio_2_api_url` is a fact of the second account."""
    second = _taken_out(changes, "twilio_2_")
    first = _taken_out(changes, "twilio_")
    accounts = (a_twilio_account(**first), a_twilio_account("twilio-2", **second))
    urls = {"http": changes.pop("http_url", ""), "http-2": changes.pop("http_2_url", "")}
    gateways = tuple(Gateway(provider=n, url=u, secret=(GATEWAY_SECRET,)) for n, u in urls.items())
    fields = {
        "data_dir": Path("/nonexistent"),
        "sendgrid_api_key": API_KEY,
        "provider_timeout_seconds": AMPLE_SECONDS,
        "gateways": gateways,
    }
    return Settings(**(fields | changes), twilio_accounts=accounts)


def _taken_out(changes, start):
    return {n.removeprefix(start): changes.pop(n) for n in [*changes] if n.startswith(start)}


def a_twilio_account(provider: str = "twilio", **changes) -> TwilioAccount:
    is_first = provider == "twilio"
    fields = {
        "account_sid": ACCOUNT_SID if is_first else SECOND_ACCOUNT_SID,
        "auth_token": (AUTH_TOKEN,),
        "from_": "+15005550006" if is_first else "+15005550007",
    }
    return TwilioAccount(provider=provider, **(fields | changes))


def outcome_of(action) -> tuple[Receipt | Exception, float]:
    """What a call gave or raised, and how many seconds it took."""
    started = time.monotonic()
    try:
        result = action()
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        result = error
    return result, time.monotonic() - started


def a_bulk_recipient(number: int = 1, address: str | None = None, **values: str) -> BulkRecipient:
    """A recipient of `a_bulk_email`, with a name and a code of their own."""
    fields = {"name.text": f"Ada {number}", "name.html": f"Ada {number}", "code.text": CODE}
    return BulkRecipient(
        reset_id=f"7c0ffee{number}",
        recipient=Recipient(Channel.EMAIL, address or f"ada.lovelace{number}@example.com"),
        message_id=f"<7c0ffee{number}@keyturn.example>",
        values={format_marker(NONCE, name): value for name, value in (fields | values).items()},
    )


def a_bulk_email(*recipients: BulkRecipient, **changes) -> BulkEmail:
    """A mail that greets by name."""
    name, page_name, code = (
        format_marker(NONCE, each) for each in ("name.text", "name.html", "code.text")
    )
    fields = {
        "from_address": "no-reply@keyturn.example",
        "from_name": "Keyturn",
        "subject": "Réinitialisez votre mot de passe",
        "text": f"Grüezi {name}\n.\nYour code: {code}\n",
        "html": f"<p>Grüezi {page_name}</p>\n<p>{code}</p>",
        "language": "fr",
        "recipients": recipients or (a_bulk_recipient(1), a_bulk_recipient(2), a_bulk_recipient(3)),
    }
    return BulkEmail(**(fields | changes))
