"""REST of webhook subscriptions of the organisation in force, and their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response
from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range

from shared.models import Channel, Status
from shared.store.webhooks.deliveries import Webhook, WebhookOutcome
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from shared.validation import format_timestamp
from shared.webhooks import MAX_URL_CHARACTERS
from web.auth import USER_READ, USER_WRITE
from web.http import count_changes, credentials, current_services, json_response
from web.middleware import read_capped_body
from web.schemas import Count, OwnSchema, ResponseSchema, Timestamp, read_body
from web.services import WebServices
from web.webhooks import service
from web.webhooks.service import SubscriptionActor

api_webhooks = Blueprint("api_webhooks", __name__)
api_webhooks.before_request(count_changes)

OUTCOMES = {
    WebhookOutcome.DELIVERED: "delivered",
    WebhookOutcome.RETRY: "retried",
    WebhookOutcome.DEAD: "given up",
}


class SubscriptionRequestSchema(OwnSchema):
    """Where to, and of what; nothing: of everything."""

    url = fields.String(
        required=True,
        validate=Length(1, MAX_URL_CHARACTERS),
        metadata={"description": "https, and at a public address"},
    )
    events = fields.List(
        fields.String(validate=OneOf(EVENTS)),
        allow_none=True,
        metadata={"description": "Nothing and none mean all"},
    )


class SubscriptionAddedSchema(ResponseSchema):
    """A new subscription."""

    subscription_id = fields.String()
    secret = fields.String(metadata={"description": "Signs (Standard Webhooks); not shown again"})


class WebhookAnswerSchema(ResponseSchema):
    """How one try to deliver an event ended."""

    at = Timestamp()
    type = fields.String(attribute="event", validate=OneOf(EVENTS))
    outcome = fields.Function(
        lambda each: OUTCOMES[each.outcome],
        metadata={"type": "string", "enum": [*OUTCOMES.values()]},
    )
    tries = Count(metadata={"description": "Of this event, this one included"})
    answer = fields.String(metadata={"description": "A status such as http_500, or why none came"})


class SubscriptionSchema(ResponseSchema):
    """Serialise a subscription, its backlog and last answers, without its secret."""

    subscription_id = fields.String()
    org_id = fields.String()
    url = fields.String()
    events = fields.List(fields.String(validate=OneOf(EVENTS)))
    state = fields.String(metadata={"description": "active, or why nothing is sent"})
    created_at = Timestamp()
    waiting = Count(metadata={"description": "Not delivered yet"})
    dead = Count(metadata={"description": "Given up"})
    oldest_due_seconds = fields.Float(validate=Range(min=0))
    sentence = fields.String(metadata={"description": "For people: do webhooks arrive, why not"})
    answers = fields.List(
        fields.Nested(WebhookAnswerSchema),
        metadata={"description": "To the last tries, newest first; at most 20"},
    )


class SubscriptionsSchema(ResponseSchema):
    """The subscriptions of an organisation."""

    subscriptions = fields.List(fields.Nested(SubscriptionSchema))


class SubscriptionRemovedSchema(ResponseSchema):
    """A subscription that is no more."""

    subscription_id = fields.String()
    dropped = Count()


class DeadWebhookSchema(ResponseSchema):
    """An event whose delivery was given up."""

    webhook_id = fields.String()
    type = fields.String(attribute="event", validate=OneOf(EVENTS))
    reset_id = fields.String()
    at = Timestamp()
    tries = Count()
    answer = fields.String(allow_none=True)


class DeadWebhooksSchema(ResponseSchema):
    """The newest of them first."""

    webhooks = fields.List(fields.Nested(DeadWebhookSchema))


class ReplayedSchema(ResponseSchema):
    """How many events are delivered again."""

    subscription_id = fields.String()
    replayed = Count()


class EnabledSchema(ResponseSchema):
    """A subscription that is delivered to again."""

    subscription_id = fields.String()
    state = fields.String()


class WebhookDataSchema(ResponseSchema):
    """What happened to a reset; no address, no code."""

    reset_id = fields.String(
        allow_none=True, metadata={"description": "Null if a password was changed without a code"}
    )
    user_id = fields.String()
    org_id = fields.String()
    channel = fields.Enum(Channel, by_value=fields.String, allow_none=True)
    status = fields.Enum(Status, by_value=fields.String, allow_none=True)
    reason = fields.String(allow_none=True)
    at = Timestamp()


class WebhookSchema(ResponseSchema):
    """What a subscriber is sent, as shared/webhooks.py writes it."""

    type = fields.String(validate=OneOf(EVENTS))
    timestamp = Timestamp()
    data = fields.Nested(WebhookDataSchema)


SUBSCRIPTION = SubscriptionRequestSchema()
ANSWER = WebhookAnswerSchema()
NO_FIELDS = OwnSchema()  # a misspelled wish to replay one webhook must not replay all
DEAD_WEBHOOK = DeadWebhookSchema()


@api_webhooks.get("/keyturn/v1/webhooks")
def list_webhooks() -> Response:
    """List the subscriptions, each with its backlog."""
    asking = _asking(USER_READ)
    found = service.list_subscriptions(current_services(), asking.org_id)
    return json_response({"subscriptions": describe_subscriptions(current_services(), found)})


@api_webhooks.post("/keyturn/v1/webhooks")
def add_webhook() -> Response:
    """Add a subscription; only this answer holds the secret that signs."""
    asking = _asking(USER_WRITE)
    fields = read_body(read_capped_body(), SUBSCRIPTION)
    secret, made = service.add_subscription(
        current_services(), asking.org_id, fields["url"], fields.get("events") or (), by=asking.by
    )
    return json_response({"subscriptionId": made.subscription_id, "secret": secret})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>")
def show_webhook(subscription_id: str) -> Response:
    """Show a subscription with its last answers."""
    found = _find(_asking(USER_READ), subscription_id)
    return json_response(describe_subscriptions(current_services(), [found])[0])


@api_webhooks.delete("/keyturn/v1/webhooks/<subscription_id>")
def remove_webhook(subscription_id: str) -> Response:
    """Remove a subscription."""
    asking = _asking(USER_WRITE)
    found = _find(asking, subscription_id)
    dropped = service.remove_subscription(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "dropped": dropped})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>/dead")
def list_dead(subscription_id: str) -> Response:
    """List its dead webhooks, the newest first."""
    _find(_asking(USER_READ), subscription_id)
    webhooks = current_services().webhooks.dead(subscription_id)
    return json_response({"webhooks": [serialise_webhook(each) for each in webhooks]})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_replay")
def replay_webhooks(subscription_id: str) -> Response:
    """Make its dead webhooks due again."""
    asking = _asking(USER_WRITE)
    read_body(read_capped_body(), NO_FIELDS)
    found = _find(asking, subscription_id)
    number = service.replay_dead(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "replayed": number})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_enable")
def enable_webhook(subscription_id: str) -> Response:
    """Enable a subscription that answered 410."""
    asking = _asking(USER_WRITE)
    read_body(read_capped_body(), NO_FIELDS)
    service.enable_subscription(current_services(), _find(asking, subscription_id), by=asking.by)
    return json_response({"subscriptionId": subscription_id, "state": "active"})


def _asking(permission: str) -> SubscriptionActor:
    return service.authorize_subscriptions(current_services(), credentials(), permission)


def _find(asking: SubscriptionActor, subscription_id: str) -> Subscription:
    return service.find_subscription(current_services(), subscription_id, org_id=asking.org_id)


def describe_subscriptions(
    services: WebServices, subscriptions: Sequence[Subscription]
) -> list[dict[str, Any]]:
    """Serialise subscriptions with their backlogs and last answers; never their secrets."""
    hooks = [each.subscription_id for each in subscriptions]
    backlogs, answers = services.webhooks.read_backlogs(hooks), services.webhooks.answers(hooks)
    return [
        {
            "subscriptionId": each.subscription_id,
            "orgId": each.org_id,
            "url": each.url,
            "events": list(each.events),
            "state": each.disabled or "active",
            "createdAt": format_timestamp(each.created_at),
            "waiting": backlog.waiting,
            "dead": backlog.dead,
            "oldestDueSeconds": round(backlog.oldest_age_seconds, 1),
            "sentence": service.describe_subscription(each, backlog),
            "answers": ANSWER.dump(answers[each.subscription_id], many=True),
        }
        for each, backlog in zip(subscriptions, backlogs.values(), strict=True)
    ]


def serialise_webhook(webhook: Webhook) -> dict[str, Any]:
    """Serialise a webhook that was not delivered."""
    body: dict[str, Any] = DEAD_WEBHOOK.dump(webhook)
    return body
