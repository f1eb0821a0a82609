"""The bodies and answers of the calls about subscriptions."""

from __future__ import annotations

from typing import Any

from marshmallow import fields
from marshmallow.validate import Length, OneOf

from shared.store.subscriptions import EVENTS, Subscription
from shared.store.webhooks import Standing, Webhook
from shared.webhooks import MOST_URL_CHARACTERS
from web.json_bodies import WireSchema
from web.schemas import spell


class SubscriptionSchema(WireSchema):
    """Where to, and of what; nothing: of everything."""

    url = fields.String(required=True, validate=Length(1, MOST_URL_CHARACTERS))
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
        "createdAt": spell(subscription.created_at),
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
        "at": spell(webhook.at),
        "tries": webhook.tries,
        "answer": webhook.answer,
    }
