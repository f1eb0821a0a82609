"""`keyturn reset send`: ask for a reset by hand."""

from __future__ import annotations

import secrets

import click

from shared.models import Channel
from shared.policies import check_may_reset
from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json
from web.recording import Order, record_reset
from web.refusing import Asking, remembered
from web.schemas import spell


@click.group()
def reset() -> None:
    """Resets."""


@reset.command("send")
@click.argument("user_id", metavar="USER")
@click.option("--type", "channel", type=click.Choice([each.value for each in Channel]),
              default=Channel.EMAIL.value, show_default=True)  # fmt: skip
@json_option
def send_reset(user_id: str, channel: str, *, as_json: bool) -> None:
    """Ask for a reset, under the same limits as everybody."""
    asked = Asking(user_id, Channel(channel), secrets.token_hex(8))
    with house() as services, remembered(services, asked):
        user = check_may_reset(services.directory.find_user(user_id), None)
        order = Order(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=asked.channel,
            reset_id=services.digests.new_reset_id(user_id),
            request_id=asked.request_id,
        )
        recorded = record_reset(services, order)
    facts = {"resetId": recorded.reset_id, "expiresAt": spell(recorded.deadline_at)}
    print_json(facts) if as_json else print_facts(facts)
