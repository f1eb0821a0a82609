"""`keyturn webhook add|list|show|remove|enable|dead|replay|test`."""

from __future__ import annotations

import click

from shared.errors import NotFoundError
from shared.store.webhooks.subscriptions import EVENTS, Subscription
from web.cli.support import (
    CommandRefusedError,
    by_option,
    json_option,
    open_services,
    print_attributes,
    print_json,
    print_result,
    print_table,
)
from web.services import WebServices
from web.webhooks.api import describe_subscriptions, serialise_webhook
from web.webhooks.service import (
    add_subscription,
    enable_subscription,
    find_subscription,
    list_subscriptions,
    remove_subscription,
    replay_dead,
    try_subscription,
)

id_argument = click.argument("subscription_id", metavar="ID")


@click.group()
def webhook() -> None:
    """Webhook subscriptions to the events of resets."""


@webhook.command("add")
@click.option(
    "--org",
    "org_id",
    required=True,
    metavar="ID",
    help="The organisation whose resets are reported.",
)
@click.option("--url", required=True, help="The https URL to call.")
@click.option("--event", "events", multiple=True, metavar="EVENT",
              help=f"May be repeated; the default is all: {', '.join(EVENTS)}.")  # fmt: skip
@by_option
@json_option
def add_webhook(*, org_id: str, url: str, events: tuple[str, ...], by: str, as_json: bool) -> None:
    """Add a subscription and print its signing secret; it is not shown again."""
    with open_services() as services:
        secret, added = add_subscription(services, org_id, url, events, by=by)
    if as_json:
        print_json({"subscriptionId": added.subscription_id, "secret": secret})
    else:
        click.echo(secret)
        click.echo(f"The secret of {added.subscription_id}; it is not shown again.", err=True)


@webhook.command("list")
@click.option("--org", "org_id", metavar="ID", help="Only those of this organisation.")
@json_option
def list_webhooks(*, org_id: str | None, as_json: bool) -> None:
    """List the subscriptions with their backlogs."""
    with open_services() as services:
        rows = describe_subscriptions(services, list_subscriptions(services, org_id))
    if as_json:
        print_json(rows)
    else:
        shown = [row | {"events": _format(row["events"])} for row in rows]
        for row in shown:
            del row["sentence"], row["answers"]  # `show` has room for them
        print_table(shown, empty="There are no subscriptions; add one with `keyturn webhook add`.")


@webhook.command("show")
@id_argument
@json_option
def show_webhook(subscription_id: str, *, as_json: bool) -> None:
    """Show a subscription, its last answers and why webhooks do not arrive."""
    with open_services() as services:
        (shown,) = describe_subscriptions(services, [_find(services, subscription_id)])
    if as_json:
        print_json(shown)
        return
    answers = shown.pop("answers")
    print_attributes(shown | {"events": _format(shown["events"])})
    click.echo()
    print_table(answers, empty="There were no calls lately; `keyturn webhook test` makes one.")


@webhook.command("remove")
@id_argument
@by_option
@json_option
def remove_webhook(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Remove a subscription and drop its undelivered webhooks."""
    with open_services() as services:
        dropped = remove_subscription(services, _find(services, subscription_id), by=by)
    print_result({"subscriptionId": subscription_id, "dropped": dropped}, as_json=as_json)


@webhook.command("enable")
@id_argument
@by_option
@json_option
def enable_webhook(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Enable a subscription that answered 410."""
    with open_services() as services:
        enable_subscription(services, _find(services, subscription_id), by=by)
    print_result({"subscriptionId": subscription_id, "state": "active"}, as_json=as_json)


@webhook.command("dead")
@id_argument
@json_option
def list_dead(subscription_id: str, *, as_json: bool) -> None:
    """List dead letters, newest first, at most 100."""
    with open_services() as services:
        subscription = _find(services, subscription_id)
        rows = [
            serialise_webhook(each) for each in services.webhooks.dead(subscription.subscription_id)
        ]
    print_table(rows, empty="There are no dead letters.", as_json=as_json)


@webhook.command("replay")
@id_argument
@by_option
@json_option
def replay_webhooks(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Deliver the dead letters again."""
    with open_services() as services:
        number = replay_dead(services, _find(services, subscription_id), by=by)
    print_result({"subscriptionId": subscription_id, "replayed": number}, as_json=as_json)


@webhook.command("test")
@id_argument
@by_option
@json_option
def test_webhook(subscription_id: str, by: str, *, as_json: bool) -> None:
    """Call the URL now, signed, and print the response."""
    with open_services() as services:
        reply = try_subscription(services, _find(services, subscription_id), by=by)
    if not reply.is_taken:
        raise CommandRefusedError(f"the call failed: {reply.reason}")
    print_result({"subscriptionId": subscription_id, "answer": reply.reason}, as_json=as_json)


def _format(events: list[str]) -> str:
    """Return the events as they fit a table."""
    names = [event.removeprefix("reset.") for event in events]
    return "all" if len(names) == len(EVENTS) else ", ".join(names)


def _find(services: WebServices, subscription_id: str) -> Subscription:
    try:
        return find_subscription(services, subscription_id)
    except NotFoundError as error:
        raise CommandRefusedError(
            "there is no subscription with that id; `keyturn webhook list` shows them"
        ) from error
