"""REST of subscriptions: those of the organisation in force; no rule stands here."""

from __future__ import annotations

from flask import Blueprint, Response

from shared.store.subscriptions import Subscription
from web import lever_rights, subscribers
from web.api import answer, credentials, house
from web.json_bodies import read_body
from web.requests import read_capped_body
from web.subscribers import Asking
from web.webhook_schemas import SUBSCRIPTION, write_dead, write_subscription

api_webhooks = Blueprint("api_webhooks", __name__)
READ, WRITE = lever_rights.USER_READ, lever_rights.USER_WRITE


@api_webhooks.get("/keyturn/v1/webhooks")
def list_webhooks() -> Response:
    """The subscriptions, and how far each has been told."""
    asking = _asking(READ)
    found = subscribers.list_subscriptions(house(), asking.org_id)
    standings = house().webhooks.look([each.subscription_id for each in found])
    told = [write_subscription(each, standings[each.subscription_id]) for each in found]
    return answer({"subscriptions": told})


@api_webhooks.post("/keyturn/v1/webhooks")
def add_webhook() -> Response:
    """Tell a URL from now on; the answer holds the secret that signs, this once."""
    asking = _asking(WRITE)
    fields = read_body(read_capped_body(), SUBSCRIPTION)
    secret, made = subscribers.add_subscription(
        house(), asking.org_id, fields["url"], fields.get("events") or (), by=asking.by
    )
    return answer({"subscriptionId": made.subscription_id, "secret": secret})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>")
def show_webhook(subscription_id: str) -> Response:
    """One subscription."""
    found = _find(_asking(READ), subscription_id)
    standing = house().webhooks.look([subscription_id])[subscription_id]
    return answer(write_subscription(found, standing))


@api_webhooks.delete("/keyturn/v1/webhooks/<subscription_id>")
def remove_webhook(subscription_id: str) -> Response:
    """Tell it nothing more."""
    asking = _asking(WRITE)
    found = _find(asking, subscription_id)
    dropped = subscribers.remove_subscription(house(), found, by=asking.by)
    return answer({"subscriptionId": subscription_id, "dropped": dropped})


@api_webhooks.get("/keyturn/v1/webhooks/<subscription_id>/dead")
def list_dead(subscription_id: str) -> Response:
    """What it was told in vain, the newest first."""
    _find(_asking(READ), subscription_id)
    letters = house().webhooks.dead(subscription_id)
    return answer({"webhooks": [write_dead(each) for each in letters]})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_replay")
def replay_webhooks(subscription_id: str) -> Response:
    """Tell it again what it was told in vain."""
    asking = _asking(WRITE)
    found = _find(asking, subscription_id)
    number = subscribers.replay_dead(house(), found, by=asking.by)
    return answer({"subscriptionId": subscription_id, "replayed": number})


@api_webhooks.post("/keyturn/v1/webhooks/<subscription_id>/_enable")
def enable_webhook(subscription_id: str) -> Response:
    """Tell one again that had answered 410."""
    asking = _asking(WRITE)
    subscribers.enable_subscription(house(), _find(asking, subscription_id), by=asking.by)
    return answer({"subscriptionId": subscription_id, "state": "active"})


def _asking(permission: str) -> Asking:
    return subscribers.who_asks(house(), credentials(), permission)


def _find(asking: Asking, subscription_id: str) -> Subscription:
    return subscribers.find_subscription(house(), subscription_id, org_id=asking.org_id)
