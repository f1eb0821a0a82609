"""`keyturn webhook add|list|remove|enable|dead|replay|test`."""

from __future__ import annotations

import getpass
from typing import Any

import click

from shared.errors import NotFoundError
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from web.cli.support import (
    CommandRefusedError,
    json_option,
    open_services,
    print_facts,
    print_json,
    print_table,
)
from web.services import WebServices
from web.webhooks.api import serialise_subscription, serialise_webhook
from web.webhooks.service import (
    add_subscription,
    enable_subscription,
    find_subscription,
    list_subscriptions,
    remove_subscription,
    replay_dead,
    try_subscription,
)

by_option = click.option("--by", default=getpass.getuser, help="Who; you, when not given.")
id_argument = click.argument("subscription_id", metavar="ID")


@click.group()
def webhook() -> None:
    """Subscribers that are told of resets."""


@webhook.command("add")
@click.option("--org", "org_id", required=True, metavar="ID", help="Whose resets.")
@click.option("--url", required=True, help="Where to; https.")
@click.option("--event", "events", multiple=True, metavar="EVENT",
              help=f"May be repeated; all when not given: {', '.join(EVENTS)}.")  # fmt: skip
@by_option
@json_option
def add_webhook(*, org_id: str, url: str, events: tuple[str, ...], by: str, as_json: bool) -> None:
    """Tell a URL from now on, and print the secret that signs, this once."""
    with open_services() as services:
        secret, made = add_subscription(services, org_id, url, events, by=by)
    if as_json:
        print_json({"subscriptionId": made.subscription_id, "secret": secret})
    else:
        click.echo(secret)
        click.echo(f"This signs for {made.subscription_id}; it is not shown again.", err=True)


@webhook.command("list")
@click.option("--org", "org_id", metavar="ID", help="Of this organisation alone.")
@json_option
def list_webhooks(*, org_id: str | None, as_json: bool) -> None:
    """List the subscriptions, and how far each has been told."""
    with open_services() as services:
        rows = _describe(services, org_id)
    if as_json:
        print_json(rows)
    else:
        shown = [row | {"events": _format(row["events"])} for row in rows]
        print_table(shown, nothing="Nobody is told; `keyturn webhook add` makes a subscription.")


@webhook.command("remove")
@id_argument
@by_option
@json_option
def remove_webhook(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Tell it nothing more, and drop what it has not heard."""
    with open_services() as services:
        dropped = remove_subscription(services, _find(services, subscription_id), by=by)
    _tell({"subscriptionId": subscription_id, "dropped": dropped}, as_json=as_json)


@webhook.command("enable")
@id_argument
@by_option
@json_option
def enable_webhook(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Tell one again that had answered 410."""
    with open_services() as services:
        enable_subscription(services, _find(services, subscription_id), by=by)
    _tell({"subscriptionId": subscription_id, "state": "active"}, as_json=as_json)


@webhook.command("dead")
@id_argument
@json_option
def list_dead(subscription_id: str, *, as_json: bool) -> None:
    """List what it was told in vain, the newest first; at most 100."""
    with open_services() as services:
        subscription = _find(services, subscription_id)
        rows = [
            serialise_webhook(each) for each in services.webhooks.dead(subscription.subscription_id)
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, nothing="It has been told everything, or will be.")


@webhook.command("replay")
@id_argument
@by_option
@json_option
def replay_webhooks(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Tell it again what it was told in vain."""
    with open_services() as services:
        number = replay_dead(services, _find(services, subscription_id), by=by)
    _tell({"subscriptionId": subscription_id, "replayed": number}, as_json=as_json)


@webhook.command("test")
@id_argument
@json_option
def test_webhook(subscription_id: str, *, as_json: bool) -> None:
    """Call it now, signed, and say what it answers."""
    with open_services() as services:
        reply = try_subscription(services, _find(services, subscription_id))
    if not reply.is_taken:
        raise CommandRefusedError(f"it did not take it: {reply.reason}")
    _tell({"subscriptionId": subscription_id, "answer": reply.reason}, as_json=as_json)


def _describe(services: WebServices, org_id: str | None) -> list[dict[str, Any]]:
    found = list_subscriptions(services, org_id)
    backlogs = services.webhooks.read_backlogs([each.subscription_id for each in found])
    return [serialise_subscription(each, backlogs[each.subscription_id]) for each in found]


def _format(events: list[str]) -> str:
    """Events as a table has room for them."""
    words = [event.removeprefix("reset.") for event in events]
    return "all" if len(words) == len(EVENTS) else ", ".join(words)


def _find(services: WebServices, subscription_id: str) -> Subscription:
    try:
        return find_subscription(services, subscription_id)
    except NotFoundError as error:
        raise CommandRefusedError(
            "there is no subscription by that id; `keyturn webhook list` shows them"
        ) from error


def _tell(facts: dict[str, Any], *, as_json: bool) -> None:
    print_json(facts) if as_json else print_facts(facts)
