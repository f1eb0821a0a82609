"""REST of subscriptions: those of the organisation in force; no rule stands here."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range

from shared.models import Channel, Status
from shared.store.webhooks.deliveries import Standing, Webhook
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from shared.webhooks import MAX_URL_CHARACTERS
from web import auth
from web.http import credentials, current_services, json_response
from web.middleware import read_capped_body
from web.schemas import Count, ResponseSchema, Timestamp, WireSchema, format_timestamp, read_body
from web.webhooks import service
from web.webhooks.service import SubscriptionActor


class SubscriptionRequestSchema(WireSchema):
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


class SubscriptionSchema(ResponseSchema):
    """A subscription and how far it was delivered; never its secret."""

    subscription_id = fields.String()
    org_id = fields.String()
    url = fields.String()
    events = fields.List(fields.String(validate=OneOf(EVENTS)))
    state = fields.String(metadata={"description": "active, or why nothing is sent"})
    created_at = Timestamp()
    waiting = Count(metadata={"description": "Not delivered yet"})
    dead = Count(metadata={"description": "Given up"})
    oldest_due_seconds = fields.Float(validate=Range(min=0))


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

    reset_id = fields.String()
    user_id = fields.String()
    org_id = fields.String()
    channel = fields.Enum(Channel, by_value=fields.String)
    status = fields.Enum(Status, by_value=fields.String)
    reason = fields.String(allow_none=True)
    at = Timestamp()


class WebhookSchema(ResponseSchema):
    """What a subscriber is sent, as shared/webhooks.py writes it."""

    type = fields.String(validate=OneOf(EVENTS))
    timestamp = Timestamp()
    data = fields.Nested(WebhookDataSchema)


SUBSCRIPTION = SubscriptionRequestSchema()
DEAD_WEBHOOK = DeadWebhookSchema()


def write_subscription(subscription: Subscription, standing: Standing) -> dict[str, Any]:
    """A subscription and how far it was delivered; never its secret."""
    return {
        "subscriptionId": subscription.subscription_id,
        "orgId": subscription.org_id,
        "url": subscription.url,
        "events": list(subscription.events),
        "state": subscription.disabled or "active",
        "createdAt": format_timestamp(subscription.created_at),
        "waiting": standing.waiting,
        "dead": standing.dead,
        "oldestDueSeconds": round(standing.oldest_age_seconds, 1),
    }


def write_dead(webhook: Webhook) -> dict[str, Any]:
    """What was told in vain."""
    written: dict[str, Any] = DEAD_WEBHOOK.dump(webhook)
    return written


api_webhooks = Blueprint("api_webhooks", __name__)
READ, WRITE = auth.USER_READ, auth.USER_WRITE


@api_webhooks.get("/keyturn/v1/webhooks")
def list_webhooks() -> Response:
    """The subscriptions, and how far each has been told."""
    asking = _asking(READ)
    found = service.list_subscriptions(current_services(), asking.org_id)
    standings = current_services().webhooks.look([each.subscription_id for each in found])
    told = [write_subscription(each, standings[each.subscription_id]) for each in found]
    return json_response({"subscriptions": told})


@api_webhooks.post("/keyturn/v1/webhooks")
def add_webhook() -> Response:
    """Tell a URL from now on; the answer holds the secret that signs, this once."""
    asking = _asking(WRITE)
    fields = read_body(read_capped_body(), SUBSCRIPTION)
    secret, made = service.add_subscription(
        current_services(), asking.org_id, fields["url"], fields.get("events") or (), by=asking.by
    )
    return json_response({"subscriptionId": made.subscription_id, "secret": secret})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>")
def show_webhook(subscription_id: str) -> Response:
    """One subscription."""
    found = _find(_asking(READ), subscription_id)
    standing = current_services().webhooks.look([subscription_id])[subscription_id]
    return json_response(write_subscription(found, standing))


@api_webhooks.delete("/keyturn/v1/webhooks/<subscription_id>")
def remove_webhook(subscription_id: str) -> Response:
    """Tell it nothing more."""
    asking = _asking(WRITE)
    found = _find(asking, subscription_id)
    dropped = service.remove_subscription(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "dropped": dropped})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>/dead")
def list_dead(subscription_id: str) -> Response:
    """What it was told in vain, the newest first."""
    _find(_asking(READ), subscription_id)
    letters = current_services().webhooks.dead(subscription_id)
    return json_response({"webhooks": [write_dead(each) for each in letters]})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_replay")
def replay_webhooks(subscription_id: str) -> Response:
    """Tell it again what it was told in vain."""
    asking = _asking(WRITE)
    found = _find(asking, subscription_id)
    number = service.replay_dead(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "replayed": number})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_enable")
def enable_webhook(subscription_id: str) -> Response:
    """Tell one again that had answered 410."""
    asking = _asking(WRITE)
    service.enable_subscription(current_services(), _find(asking, subscription_id), by=asking.by)
    return json_response({"subscriptionId": subscription_id, "state": "active"})


def _asking(permission: str) -> SubscriptionActor:
    return service.authorize_subscriptions(current_services(), credentials(), permission)


def _find(asking: SubscriptionActor, subscription_id: str) -> Subscription:
    return service.find_subscription(current_services(), subscription_id, org_id=asking.org_id)
