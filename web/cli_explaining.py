"""`keyturn explain`: why somebody got, or did not get, a message, and what to do about it."""

from __future__ import annotations

from typing import Any

import click

from shared.errors import UserUnknownError
from web.cli_failures import RefusedError
from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json, print_table
from web.explaining import explain_reset, explain_user
from web.facts import Explanation
from web.house import House
from web.schemas import write_explanation, write_reset


@click.command()
@click.option("--reset", "reset_id", metavar="ID", help="One reset.")
@click.option("--user", "user_id", metavar="ID", help="The newest thing that happened to a user.")
@click.option("--address", metavar="A", help="Everybody who has this address.")
@json_option
def explain(
    reset_id: str | None, user_id: str | None, address: str | None, *, as_json: bool
) -> None:
    """Say in plain words why somebody got, or did not get, a message, and what to do."""
    if sum(given is not None for given in (reset_id, user_id, address)) != 1:
        raise click.UsageError("give one of --reset, --user and --address")
    with house() as services:
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


def _explain_reset(services: House, reset_id: str) -> Explanation:
    reset = services.resets.find(reset_id)
    if reset is None:
        raise RefusedError("there is no reset by that id, or it is older than they are kept")
    return explain_reset(services, reset)


def _explain_user(services: House, user_id: str) -> Explanation:
    if services.directory.find_user(user_id) is None:
        raise UserUnknownError(f"there is no user {user_id!r} in the directory")
    return explain_user(services, user_id)


def _explain_address(services: House, address: str) -> list[Explanation]:
    users = services.directory.find_users_by_address(address)
    if not users:
        raise RefusedError("no user in the directory has this address")
    return [explain_user(services, user.user_id) for user in users]


def _as_json(told: list[Explanation]) -> dict[str, Any]:
    """The first user's verdict on top; each one's own beside."""
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
    facts: dict[str, Any] = {"verdict": told.verdict.words, "next": told.verdict.next_step}
    if told.resets:
        reset, recipient = told.resets[0]
        facts |= {"user": told.user_id, "reset": reset.reset_id, "recipient": recipient}
    else:
        facts |= {"user": told.user_id}
    print_facts(facts)
    click.echo()
    rows = [{"at": step.at, "step": step.step, "what": step.words} for step in told.chain]
    print_table(rows, nothing="Nothing is known of this user.")
    older = [reset.reset_id for reset, _ in told.resets[1:]]
    if older:
        click.echo(f"\nBefore it: {', '.join(older)} (`keyturn explain --reset ID`).")
    click.echo()
