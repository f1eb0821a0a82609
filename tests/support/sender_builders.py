"""Senders of organisations, as they write them, and as they are stored."""

from __future__ import annotations

from typing import Any

from shared.organisations.sender import Sender
from shared.organisations.sender_checks import SenderReader
from shared.wiring import Services
from tests.support.provider_builders import GATEWAY_SECRET

OWN_KEY = "SG.the-organisations-very-own-key"
OWN_TOKEN = "the-organisations-own-token"
OWN_SID = "AC" + "00112233445566778899aabbccddeeff"
OWN_SECRETS = (OWN_KEY, OWN_TOKEN, GATEWAY_SECRET, "relay-password")
SENDGRID = {"apiKey": OWN_KEY}
TWILIO = {"accountSid": OWN_SID, "authToken": OWN_TOKEN, "from": "+41790000009"}


def a_gateway_account(url: str = "https://gateway.example/send") -> dict[str, Any]:
    return {"url": url, "secret": GATEWAY_SECRET}


def read_sender(
    services: Services, body: dict[str, Any], *, org_id: str = "acme", allow_private: bool = True
) -> Sender:
    """The sender that the body makes of the present one."""
    former, senders = services.senders.find(org_id), services.senders
    reader = SenderReader(
        former=former,
        seal=lambda secret: senders.seal(org_id, secret),
        unseal=lambda sealed: senders.unseal(org_id, sealed),
        now_ms=1,
        allow_private=allow_private,
    )
    return reader.read(body)


def save_sender(services: Services, body: dict[str, Any], *, org_id: str = "acme") -> Sender:
    """Save it; give what is stored."""
    version = services.senders.find(org_id).version
    services.senders.save(org_id, read_sender(services, body, org_id=org_id), version=version)
    return services.senders.find(org_id)
