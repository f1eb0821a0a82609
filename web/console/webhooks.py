"""Webhooks: subscriptions, their last answers, why one fails; test, replay, enable, remove."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, g, request

from shared.errors import NotFoundError
from shared.store.webhooks.subscriptions import Subscription
from web.auth import USER_READ, USER_WRITE
from web.console.frame import Question, ask, caller_here, console, show, why
from web.explain.wording import describe_failure
from web.http import current_services
from web.webhooks import service
from web.webhooks.api import OUTCOMES

ON_A_PAGE, DEAD_SHOWN = 50, 20
VERBS = {  # a button, and what it will do
    "test": ("Test", "The URL is called now, signed, by a test event."),
    "replay": ("Deliver again", "All that was given up is due again, the oldest first."),
    "enable": ("Enable", "What waited is sent to it again."),
    "remove": ("Remove", "The subscription goes, with all it was not sent."),
}


@console.get("/console/webhooks")
def list_webhooks() -> Response:
    """List subscriptions: all for those who may read everywhere, else the organisation's."""
    services, caller, org_id = current_services(), caller_here(), None
    if g.console_session.org_id or not services.auth.may_everywhere(caller, USER_READ):
        asking = service.authorize_subscriptions(services, g.console_session.credentials, USER_READ)
        org_id = asking.org_id
    found = service.list_subscriptions(services, org_id)
    first = max(0, request.args.get("from", 0, int))
    rows, after = found[first : first + ON_A_PAGE], first + ON_A_PAGE
    return show(
        "webhooks.html",
        rows=rows,
        total=len(found),
        further=after if after < len(found) else 0,
        backlogs=services.webhooks.read_backlogs([each.subscription_id for each in rows]),
        sentence=service.describe_subscription,
    )


@console.get("/console/webhooks/<subscription_id>")
def show_webhook(subscription_id: str) -> Response:
    """Show a subscription, its last answers and what was given up."""
    services, hook = current_services(), _find(subscription_id, USER_READ)
    backlog = services.webhooks.read_backlogs([subscription_id])[subscription_id]
    return show(
        "webhook.html",
        hook=hook,
        backlog=backlog,
        sentence=service.describe_subscription(hook, backlog),
        answers=services.webhooks.answers([subscription_id])[subscription_id],
        dead=services.webhooks.dead(subscription_id, most=DEAD_SHOWN) if backlog.dead else (),
        outcomes=OUTCOMES,
        describe=describe_failure,
        verbs=VERBS,
    )


@console.route("/console/webhooks/<subscription_id>/<verb>", methods=["GET", "POST"])
def change_webhook(subscription_id: str, verb: str) -> Response:
    """Test, replay, enable or remove a subscription."""
    services, hook = current_services(), _find(subscription_id, USER_WRITE)
    if verb not in VERBS:
        raise NotFoundError

    def act(filled: Mapping[str, str]) -> str:
        who = why(filled)
        asked = {"by": who.by, "reason": who.reason}
        if verb == "test":
            reply = service.try_subscription(services, hook, **asked)
            took = "It took the test" if reply.is_taken else "It did not take the test"
            return f"{took}: {reply.reason}."
        if verb == "replay":
            return f"{service.replay_dead(services, hook, **asked):,} are delivered again."
        if verb == "remove":
            return f"{service.remove_subscription(services, hook, **asked):,} were dropped."
        service.enable_subscription(services, hook, **asked)
        return "It is enabled."

    title, text = VERBS[verb]
    is_grave = verb == "remove"
    back = "/webhooks" if is_grave else f"/webhooks/{subscription_id}"
    return ask(Question(f"{title}: {subscription_id}", text, title, back, is_grave=is_grave), act)


def _find(subscription_id: str, permission: str) -> Subscription:
    """Return a subscription of an organisation in which the caller has the permission."""
    services, caller = current_services(), caller_here()
    found = service.find_subscription(services, subscription_id)
    if not services.auth.may(caller, found.org_id, USER_READ):
        raise NotFoundError
    services.auth.authorize_in(caller, found.org_id, permission)
    return found
