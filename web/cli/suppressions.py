"""`keyturn suppression list|add|lift`."""

from __future__ import annotations

import getpass
from typing import Any

import click

from shared import validation
from shared.models import Channel, Recipient
from web.admin import actions
from web.admin.actions import AuditReason, Resent, check_reason
from web.cli.support import (
    CommandRefusedError,
    json_option,
    open_services,
    print_facts,
    print_json,
    print_table,
)

by_option = click.option("--by", default=getpass.getuser, help="Who; you, when not given.")


@click.group()
def suppression() -> None:
    """Recipients that are not written to."""


@suppression.command("list")
@json_option
def list_suppressions(*, as_json: bool) -> None:
    """List them; addresses stand in no record, so each is told by its digest."""
    with open_services() as services:
        rows = [
            {"digest": digest, "reason": found.reason, "source": found.source, "since": found.since}
            for digest, found in services.suppressions.list_all()
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, nothing="Nobody is suppressed.")


@suppression.command("add")
@click.argument("address")
@click.option("--reason", required=True, help="Why nobody may write there.")
@by_option
@json_option
def add_suppression(address: str, reason: str, by: str, *, as_json: bool) -> None:
    """Write to an address no more."""
    recipient = read_recipient(address)
    with open_services() as services:
        is_new = actions.suppress(services, recipient, AuditReason(by, check_reason(reason)))
    facts = {"recipient": recipient.masked, "reason": reason, "by": by, "wasSuppressed": not is_new}
    print_json(facts) if as_json else print_facts(facts)


@suppression.command("lift")
@click.argument("address")
@click.option("--reason", required=True, help="Why it may be written to again.")
@click.option("--resend", is_flag=True, help="And send a fresh reset to everybody who has it.")
@by_option
@json_option
def lift_suppression(address: str, reason: str, by: str, *, resend: bool, as_json: bool) -> None:
    """Write to an address again, from the next reset on."""
    recipient, why = read_recipient(address), AuditReason(by, check_reason(reason))
    facts: dict[str, Any] = {"recipient": recipient.masked, "reason": reason, "by": by}
    with open_services() as services:
        if not resend:
            actions.lift(services, recipient, why)
        else:
            resent = actions.lift_and_resend(services, recipient, why)
            facts["resent"] = [_told(each) for each in resent]
    if as_json:
        print_json(facts)
        return
    told = facts.pop("resent", [])
    print_facts(facts)
    if told:
        print_table(told, nothing="")


def _told(resent: Resent) -> dict[str, str | None]:
    return {"userId": resent.user_id, "resetId": resent.reset_id, "refusal": resent.refusal}


def read_recipient(address: str) -> Recipient:
    """An address as the directory spells it.

    Raises:
        RefusedError: it is neither an e-mail address nor a phone number.
    """
    is_email = "@" in address
    try:
        spelled = validation.email(address) if is_email else validation.phone(address)
    except ValueError as error:
        raise CommandRefusedError(f"the address {error}") from error
    return Recipient(Channel.EMAIL if is_email else Channel.SMS, spelled)
