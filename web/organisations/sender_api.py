"""REST of how an organisation sends."""

from __future__ import annotations

from flask import Response
from marshmallow import fields

from shared.models import Channel
from web.admin.schemas import ReasonSchema
from web.auth import ORG_READ, ORG_WRITE
from web.http import current_services
from web.middleware import read_capped_body
from web.organisations.api import (
    ORGANISATION,
    answer,
    api_organisations,
    check_if_match,
    read_profile,
    read_reason,
    read_reason_in_query,
)
from web.organisations.senders import change_sender, remove_sender, write_sender
from web.schemas import ResponseSchema, read_body


class SenderRequestSchema(ReasonSchema):
    """What an organisation sends by; secrets that are left out stay as they are."""

    email = fields.Raw(
        allow_none=True,
        metadata={
            "type": ["object", "null"],
            "description": "fromAddress, fromName, dkimSelectors, providers, fallback, and an "
            "account each: sendgrid (apiKey, webhookPublicKey), smtp (url), http (url, secret)",
        },
    )
    sms = fields.Raw(
        allow_none=True,
        metadata={
            "type": ["object", "null"],
            "description": "countries, providers, fallback, and an account each: twilio "
            "(accountSid, authToken, apiKeySid, apiKeySecret, from, messagingServiceSid), "
            "http (url, secret)",
        },
    )


class SenderSchema(ResponseSchema):
    """How an organisation sends, without its secrets; null: as the installation does."""

    org_id = fields.String()
    email = fields.Dict(allow_none=True)
    sms = fields.Dict(allow_none=True)
    status = fields.Dict(
        metadata={"description": "State of the From, when secrets were set, names of providers"}
    )


__all__ = ["api_organisations"]  # with these routes

SENDER_REQUEST = SenderRequestSchema()
SENDER = f"{ORGANISATION}/sender"


@api_organisations.get(SENDER)
def show_sender(org_id: str) -> Response:
    """Show how an organisation sends."""
    read_profile(org_id, ORG_READ)
    return _answer_sender(org_id)


@api_organisations.put(SENDER)
def replace_sender(org_id: str) -> Response:
    """Replace how an organisation sends."""
    read_profile(org_id, ORG_WRITE)
    services = current_services()
    given = read_body(read_capped_body(), SENDER_REQUEST)
    why, former = read_reason(given["reason"]), services.senders.find(org_id)
    check_if_match(former.version, is_set=bool(former.routes or former.from_))
    body = {name: each for name, each in given.items() if name in tuple(Channel)}
    change_sender(services, org_id, former, body, why)
    return _answer_sender(org_id)


@api_organisations.delete(SENDER)
def delete_sender(org_id: str) -> Response:
    """Send as the installation does."""
    read_profile(org_id, ORG_WRITE)
    services, why = current_services(), read_reason_in_query()
    former = services.senders.find(org_id)
    check_if_match(former.version, is_set=bool(former.routes or former.from_))
    remove_sender(services, org_id, former, why)
    return _answer_sender(org_id)


def _answer_sender(org_id: str) -> Response:
    services = current_services()
    sender = services.senders.find(org_id)
    return answer(write_sender(services, org_id, sender), sender.version)
