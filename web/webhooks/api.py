"""REST of subscriptions: those of the organisation in force; no rule stands here."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from marshmallow import fields
from marshmallow.validate import Length, OneOf

from shared.store.webhooks.deliveries import Standing, Webhook
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from shared.validation import format_timestamp
from shared.webhooks import MAX_URL_CHARACTERS
from web.auth import USER_READ, USER_WRITE
from web.http import credentials, current_services, json_response
from web.middleware import read_capped_body
from web.schemas import WireSchema, read_body
from web.webhooks import service
from web.webhooks.service import SubscriptionActor


class SubscriptionSchema(WireSchema):
    """Where to, and of what; nothing: of everything."""

    url = fields.String(required=True, validate=Length(1, MAX_URL_CHARACTERS))
    events = fields.List(fields.String(validate=OneOf(EVENTS)), allow_none=True)


SUBSCRIPTION = SubscriptionSchema()


def write_subscription(subscription: Subscription, standing: Standing) -> dict[str, Any]:
    """A subscription and how far it has been told; never its secret."""
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
    return {
        "webhookId": webhook.webhook_id,
        "type": webhook.event,
        "resetId": webhook.reset_id,
        "at": format_timestamp(webhook.at),
        "tries": webhook.tries,
        "answer": webhook.answer,
    }


api_webhooks = Blueprint("api_webhooks", __name__)


@api_webhooks.get("/keyturn/v1/webhooks")
def list_webhooks() -> Response:
    """The subscriptions, and how far each has been told."""
    asking = _asking(USER_READ)
    found = service.list_subscriptions(current_services(), asking.org_id)
    standings = current_services().webhooks.look([each.subscription_id for each in found])
    told = [write_subscription(each, standings[each.subscription_id]) for each in found]
    return json_response({"subscriptions": told})


@api_webhooks.post("/keyturn/v1/webhooks")
def add_webhook() -> Response:
    """Tell a URL from now on; the answer holds the secret that signs, this once."""
    asking = _asking(USER_WRITE)
    fields = read_body(read_capped_body(), SUBSCRIPTION)
    secret, made = service.add_subscription(
        current_services(), asking.org_id, fields["url"], fields.get("events") or (), by=asking.by
    )
    return json_response({"subscriptionId": made.subscription_id, "secret": secret})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>")
def show_webhook(subscription_id: str) -> Response:
    """One subscription."""
    found = _find(_asking(USER_READ), subscription_id)
    standing = current_services().webhooks.look([subscription_id])[subscription_id]
    return json_response(write_subscription(found, standing))


@api_webhooks.delete("/keyturn/v1/webhooks/<subscription_id>")
def remove_webhook(subscription_id: str) -> Response:
    """Tell it nothing more."""
    asking = _asking(USER_WRITE)
    found = _find(asking, subscription_id)
    dropped = service.remove_subscription(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "dropped": dropped})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>/dead")
def list_dead(subscription_id: str) -> Response:
    """What it was told in vain, the newest first."""
    _find(_asking(USER_READ), subscription_id)
    letters = current_services().webhooks.dead(subscription_id)
    return json_response({"webhooks": [write_dead(each) for each in letters]})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_replay")
def replay_webhooks(subscription_id: str) -> Response:
    """Tell it again what it was told in vain."""
    asking = _asking(USER_WRITE)
    found = _find(asking, subscription_id)
    number = service.replay_dead(current_services(), found, by=asking.by)
    return json_response({"subscriptionId": subscription_id, "replayed": number})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_enable")
def enable_webhook(subscription_id: str) -> Response:
    """Tell one again that had answered 410."""
    asking = _asking(USER_WRITE)
    service.enable_subscription(current_services(), _find(asking, subscription_id), by=asking.by)
    return json_response({"subscriptionId": subscription_id, "state": "active"})


def _asking(permission: str) -> SubscriptionActor:
    return service.authorize_subscriptions(current_services(), credentials(), permission)


def _find(asking: SubscriptionActor, subscription_id: str) -> Subscription:
    return service.find_subscription(current_services(), subscription_id, org_id=asking.org_id)
