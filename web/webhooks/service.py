"""Add, list, remove, enable, replay and test subscriptions, for the API and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from shared.errors import (
    InvalidRequestError,
    NotFoundError,
    OrganisationUnknownError,
    SubscriberUrlError,
    TooManySubscriptionsError,
)
from shared.store.admin.audit import Act
from shared.store.webhooks.deliveries import Backlog
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from shared.webhooks import Reply, Subscribers, build_test_body, read_url
from web.auth import Credentials, audit_name
from web.explain.wording import describe_failure, format_time
from web.services import WebServices

MAX_OF_AN_ORGANISATION = 20


def add_subscription(
    services: WebServices, org_id: str, url: str, events: Sequence[str], *, by: str
) -> tuple[str, Subscription]:
    """Add a subscription; return its secret, which is not shown again, and the subscription.

    Without `events` it receives all.

    Raises:
        OrganisationUnknownError: there is no such organisation.
        InvalidRequestError: there is no such event.
        SubscriberUrlError: nothing may be sent to the URL.
        TooManySubscriptionsError: the organisation has enough.
    """
    if not services.callers.organisation_exists(org_id):
        raise OrganisationUnknownError(f"Organisation {org_id} doesn't exist")
    unknown = sorted(set(events) - set(EVENTS))
    if unknown:
        raise InvalidRequestError(f"unknown event {unknown[0]!r}; there are {', '.join(EVENTS)}")
    try:
        url = read_url(url, allow_private=services.settings.webhook_allow_private)
    except ValueError as error:
        raise SubscriberUrlError(f"The URL {error}") from error
    if len(list_subscriptions(services, org_id)) >= MAX_OF_AN_ORGANISATION:
        raise TooManySubscriptionsError
    wanted = tuple(event for event in EVENTS if event in events or not events)
    with services.audit.acting(Act(by=by, action="webhook.add", target=org_id)) as ending:
        secret, made = services.subscriptions.add(org_id, url, wanted)
        ending["target"] = made.subscription_id
    return secret, made


@dataclass(frozen=True, slots=True)
class SubscriptionActor:
    """The organisation in force, and the caller's name in the audit trail."""

    org_id: str
    by: str


def authorize_subscriptions(
    services: WebServices, credentials: Credentials, permission: str
) -> SubscriptionActor:
    """Return the organisation in force, where the caller must have the permission.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError,
        PermissionDeniedError.
    """
    caller, organisation = services.auth.authorize_in_force(credentials, permission)
    return SubscriptionActor(organisation.org_id, audit_name(caller))


def list_subscriptions(services: WebServices, org_id: str | None = None) -> list[Subscription]:
    """Return the subscriptions of an organisation, or all."""
    every = services.subscriptions.all()
    return [each for each in every if org_id is None or each.org_id == org_id]


def find_subscription(
    services: WebServices, subscription_id: str, *, org_id: str | None = None
) -> Subscription:
    """Return the subscription; raise NotFoundError if `org_id` has none by this id."""
    found = services.subscriptions.find(subscription_id)
    if found is None or org_id not in (None, found.org_id):
        raise NotFoundError
    return found


def describe_subscription(subscription: Subscription, backlog: Backlog) -> str:
    """Return in a sentence whether webhooks arrive, and why not."""
    rest = f"{backlog.waiting:,} wait" + (f", {backlog.dead:,} given up" if backlog.dead else "")
    last = backlog.last
    if subscription.disabled:
        return f"gets nothing since it answered 410; {rest}"
    if last is None:
        return f"was not called lately; {rest}"
    at = format_time(last.at)
    if not backlog.is_failing:
        return f"took the last webhook at {at}; {rest}"
    why = describe_failure(last.answer)
    return f"took no webhook at {at} ({why}, try {last.tries} of {last.event}); {rest}"


def remove_subscription(
    services: WebServices, subscription: Subscription, *, by: str, reason: str = ""
) -> int:
    """Remove it with its webhooks; return how many were dropped."""
    with _acting(services, "webhook.remove", subscription, by, reason):
        services.subscriptions.remove(subscription)
        return services.webhooks.forget(subscription.subscription_id)


def enable_subscription(
    services: WebServices, subscription: Subscription, *, by: str, reason: str = ""
) -> None:
    """Send to it again, what waited included."""
    with _acting(services, "webhook.enable", subscription, by, reason):
        if not services.subscriptions.switch(subscription, disabled=None):
            raise NotFoundError


def replay_dead(
    services: WebServices, subscription: Subscription, *, by: str, reason: str = ""
) -> int:
    """Make its dead webhooks due again; return how many."""
    with _acting(services, "webhook.replay", subscription, by, reason):
        return services.webhooks.replay(subscription.subscription_id)


def try_subscription(
    services: WebServices, subscription: Subscription, *, by: str, reason: str = ""
) -> Reply:
    """Send it a test now, from this process; return its answer."""
    subscribers = Subscribers(allow_private=services.settings.webhook_allow_private)
    now = services.dues.now()
    with _acting(services, "webhook.test", subscription, by, reason) as ending:
        reply = subscribers.call(
            subscription.url,
            services.subscriptions.secret(subscription),
            webhook_id=f"msg_test_{subscription.subscription_id}_{int(now.timestamp() * 1000)}",
            body=build_test_body(subscription.subscription_id, subscription.org_id, now),
        )
        if not reply.is_taken:
            ending["outcome"] = f"failed: {reply.reason}"
    subscribers.close()
    return reply


def _acting(
    services: WebServices, action: str, subscription: Subscription, by: str, reason: str
) -> AbstractContextManager[dict[str, str]]:
    act = Act(by=by, action=action, target=subscription.subscription_id, reason=reason)
    return services.audit.acting(act)
