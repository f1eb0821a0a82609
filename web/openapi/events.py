"""Describe the callbacks of providers and the webhooks to subscribers."""

from __future__ import annotations

from typing import Any

from apispec.utils import build_reference
from marshmallow import INCLUDE, Schema, fields

from shared.providers import http, http_webhook, sendgrid_webhook, twilio_webhook
from shared.providers.sendgrid_bulk import RESET_ID_ARG
from shared.store.webhooks.subscriptions import EVENTS
from web.webhooks.api import WebhookSchema

SUMMARIES = {
    "reset.accepted": "A provider took the message",
    "reset.delivered": "A provider says that the message arrived",
    "reset.undelivered": "A provider says that the message did not arrive",
    "reset.failed": "The message was refused for good",
    "reset.suppressed": "The recipient must not be written to",
    "reset.expired": "The code ended before the message could be sent",
    "reset.cancelled": "Overtaken by a newer reset, a changed password or a removed user",
    "reset.completed": "The password was changed with the code",
    "password.changed": "The password was changed, by a code or without one",
}
HEADERS = {
    "webhook-id": "The same for every try",
    "webhook-timestamp": "When it was sent: seconds since 1970",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body (Standard Webhooks)",
}
RESPONSES = {
    "2XX": "Taken",
    "410": "Sends nothing more: the subscription is disabled",
    "default": "Tried again later; redirects are not followed",
}


class CallbackSchema(Schema):
    """A provider's message; fields that are not named here are ignored."""

    class Meta:
        """Providers add fields."""

        unknown = INCLUDE


class SendGridEventSchema(CallbackSchema):
    """One event of SendGrid's Event Webhook."""

    event = fields.String(
        metadata={"description": "Understood: " + ", ".join(sendgrid_webhook.EVENTS)}
    )
    sg_event_id = fields.String(metadata={"description": "Counted once"})
    sg_message_id = fields.String()
    timestamp = fields.Integer()
    type = fields.String(metadata={"description": "Of a bounce: bounce or blocked"})
    reason = fields.String(metadata={"description": "Of a dropped mail"})
    reset_id = fields.String(
        data_key=RESET_ID_ARG, metadata={"description": "Ours; an event without it is ignored"}
    )


class TwilioStatusSchema(CallbackSchema):
    """Twilio's status callback."""

    account_sid = fields.String(data_key="AccountSid", required=True)
    message_sid = fields.String(data_key="MessageSid")
    message_status = fields.String(
        data_key="MessageStatus",
        metadata={"description": "Understood: " + ", ".join(twilio_webhook.STATUSES)},
    )
    error_code = fields.String(data_key="ErrorCode")


class TwilioQuerySchema(Schema):
    """The query of the callback URL that Keyturn gives Twilio."""

    reset_id = fields.String(
        data_key="resetId", metadata={"description": "The reset that the message was for"}
    )


class GatewayReportSchema(CallbackSchema):
    """What an HTTP gateway reports of a message."""

    reset_id = fields.String(data_key="resetId", required=True)
    event = fields.String(
        required=True, metadata={"description": "Understood: " + ", ".join(http_webhook.EVENTS)}
    )
    id = fields.String(metadata={"description": "The gateway's id of the message"})
    reason = fields.String(metadata={"description": "Understood: " + ", ".join(http.REASONS)})


def describe_webhooks(example: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAPI's `webhooks`; `example` is one message."""
    return {event: {"post": _webhook(event, example)} for event in EVENTS}


def _webhook(event: str, example: dict[str, Any]) -> dict[str, Any]:
    status = event.removeprefix("reset.").replace("completed", "delivered")
    status = status.replace("password.changed", "delivered")
    reason = example["data"]["reason"] if status == "failed" else None
    data = example["data"] | {"status": status, "reason": reason}
    message = build_reference("schema", 3, WebhookSchema.__name__.removesuffix("Schema"))
    return {
        "operationId": event,
        "summary": SUMMARIES[event],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            | {"description": description}
            for name, description in HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "description": "No address and no code is ever sent",
            "content": {
                "application/json": {
                    "schema": {"allOf": [message, {"properties": {"type": {"const": event}}}]},
                    "examples": {event: {"value": example | {"type": event, "data": data}}},
                }
            },
        },
        "responses": {status: {"description": text} for status, text in RESPONSES.items()},
    }
