"""`keyturn reset hold`, `release` and `resend`: what an operator does to one reset."""

from __future__ import annotations

import click

from shared.models import Channel
from web import levers
from web.cli_house import house
from web.cli_levers import reason_option, why
from web.cli_output import json_option, print_facts, print_json
from web.cli_suppressions import by_option
from web.resending import resend_by_hand
from web.schemas import spell


@click.command("hold")
@click.argument("reset_id", metavar="ID")
@reason_option
@by_option
@json_option
def hold_reset(reset_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Keep one reset from going out until it is released, or its code's life ends."""
    with house() as services:
        levers.hold(services, reset_id, why(by, reason))
    facts = {"resetId": reset_id, "held": True, "by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


@click.command("release")
@click.argument("reset_id", metavar="ID")
@reason_option
@by_option
@json_option
def release_reset(reset_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Let a reset that was held go out at once."""
    with house() as services:
        levers.let_go(services, reset_id, why(by, reason))
    facts = {"resetId": reset_id, "held": False, "by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


@click.command("resend")
@click.argument("reset_id", metavar="ID")
@click.option("--channel", type=click.Choice([each.value for each in Channel]),
              help="The same as before, when not given.")  # fmt: skip
@reason_option
@by_option
@json_option
def resend_reset(
    reset_id: str, channel: str | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Ask for a fresh reset for the user of another one; the cool-down does not apply."""
    with house() as services:
        told = Channel(channel) if channel else None
        recorded = resend_by_hand(services, reset_id, told, why(by, reason))
    facts = {"resetId": recorded.reset_id, "expiresAt": spell(recorded.deadline_at)}
    facts |= {"by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


COMMANDS: tuple[click.Command, ...] = (hold_reset, release_reset, resend_reset)
