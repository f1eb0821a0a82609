"""`keyturn reset send|hold|release|resend` and `keyturn explain`."""

from __future__ import annotations

from typing import Any

import click

from shared.errors import UserUnknownError
from shared.models import Channel
from shared.policies import check_may_reset
from shared.recording import ResetRequest, record_reset
from shared.validation import format_timestamp
from web.admin import actions
from web.admin.actions import resend_by_hand
from web.cli.admin import reason_option, why
from web.cli.support import (
    CommandRefusedError,
    json_option,
    open_services,
    print_facts,
    print_json,
    print_table,
)
from web.cli.suppressions import by_option
from web.explain.model import Explanation
from web.explain.query import explain_reset, explain_user
from web.resets import record_refusals
from web.schemas import write_explanation, write_reset
from web.services import WebServices


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
    with open_services() as services, record_refusals(services, user_id, Channel(channel)):
        user = check_may_reset(services.directory.find_user(user_id), None)
        request = ResetRequest(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=Channel(channel),
            reset_id=services.digests.new_reset_id(user_id),
        )
        recorded = record_reset(services, request)
    facts = {"resetId": recorded.reset_id, "expiresAt": format_timestamp(recorded.deadline_at)}
    print_json(facts) if as_json else print_facts(facts)


@click.command("hold")
@click.argument("reset_id", metavar="ID")
@reason_option
@by_option
@json_option
def hold_reset(reset_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Keep one reset from going out until it is released, or its code's life ends."""
    with open_services() as services:
        actions.hold(services, reset_id, why(by, reason))
    facts = {"resetId": reset_id, "held": True, "by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


@click.command("release")
@click.argument("reset_id", metavar="ID")
@reason_option
@by_option
@json_option
def release_reset(reset_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Let a reset that was held go out at once."""
    with open_services() as services:
        actions.release(services, reset_id, why(by, reason))
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
    with open_services() as services:
        told = Channel(channel) if channel else None
        recorded = resend_by_hand(services, reset_id, told, why(by, reason))
    facts = {"resetId": recorded.reset_id, "expiresAt": format_timestamp(recorded.deadline_at)}
    facts |= {"by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


COMMANDS: tuple[click.Command, ...] = (hold_reset, release_reset, resend_reset)


@click.command()
@click.option("--reset", "reset_id", metavar="ID", help="One reset.")
@click.option("--user", "user_id", metavar="ID", help="The newest thing that happened to a user.")
@click.option("--address", metavar="A", help="Everybody who has this address.")
@json_option
def explain(
    reset_id: str | None, user_id: str | None, address: str | None, *, as_json: bool
) -> None:
    """Say why a user got, or did not get, a message, and what to do."""
    if sum(given is not None for given in (reset_id, user_id, address)) != 1:
        raise click.UsageError("give one of --reset, --user and --address")
    with open_services() as services:
        if reset_id is not None:
            told = [_explain_reset(services, reset_id)]
        elif user_id is not None:
            told = [_explain_user(services, user_id)]
        else:
            told = _explain_address(services, address or "")
    if as_json:
        print_json(_as_json(told))
        return
    for explanation in told:
        _print(explanation)


def _explain_reset(services: WebServices, reset_id: str) -> Explanation:
    reset = services.resets.find(reset_id)
    if reset is None:
        raise CommandRefusedError("there is no reset by that id, or it is older than they are kept")
    return explain_reset(services, reset)


def _explain_user(services: WebServices, user_id: str) -> Explanation:
    if services.directory.find_user(user_id) is None:
        raise UserUnknownError(f"there is no user {user_id!r} in the directory")
    return explain_user(services, user_id)


def _explain_address(services: WebServices, address: str) -> list[Explanation]:
    users = services.directory.find_users_by_address(address)
    if not users:
        raise CommandRefusedError("no user in the directory has this address")
    return [explain_user(services, user.user_id) for user in users]


def _as_json(told: list[Explanation]) -> dict[str, Any]:
    """Serialise the first user's explanation on top, and each user's in `users`."""
    return {
        **write_explanation(told[0]),
        "resets": [
            write_reset(reset, recipient=recipient)
            for explanation in told
            for reset, recipient in explanation.resets
        ],
        "users": [{"userId": each.user_id, **write_explanation(each)} for each in told],
    }


def _print(told: Explanation) -> None:
    facts: dict[str, Any] = {"verdict": told.diagnosis.text, "next": told.diagnosis.next_step}
    if told.resets:
        reset, recipient = told.resets[0]
        facts |= {"user": told.user_id, "reset": reset.reset_id, "recipient": recipient}
    else:
        facts |= {"user": told.user_id}
    print_facts(facts)
    click.echo()
    rows = [{"at": step.at, "step": step.step, "what": step.text} for step in told.timeline]
    print_table(rows, nothing="Nothing is known of this user.")
    older = [reset.reset_id for reset, _ in told.resets[1:]]
    if older:
        click.echo(f"\nBefore it: {', '.join(older)} (`keyturn explain --reset ID`).")
    click.echo()
