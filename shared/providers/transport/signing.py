"""Sign a call with a shared secret.

Source: the Standard Webhooks specification, https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

USER_AGENT = "Keyturn-Webhooks/1"


def signed_headers(secrets: Iterable[str], webhook_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed call, with a signature by each secret."""
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(each, webhook_id, at, body) for each in secrets),
    }


def sign(secret: str, webhook_id: str, at: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((webhook_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
