"""`keyturn suppression list|add|lift`."""

from __future__ import annotations

from typing import Any

import click

from shared import validation
from shared.models import Channel, Recipient
from web.admin import actions
from web.admin.actions import Resent
from web.cli.admin import audit_reason
from web.cli.support import (
    CommandRefusedError,
    by_option,
    change_options,
    json_option,
    open_services,
    print_attributes,
    print_json,
    print_result,
    print_table,
    reason_option,
)


@click.group()
def suppression() -> None:
    """Recipients that receive no messages."""


@suppression.command("list")
@json_option
def list_suppressions(*, as_json: bool) -> None:
    """List suppressed recipients by digest; addresses are not stored."""
    with open_services() as services:
        rows = [
            {"digest": digest, "reason": found.reason, "source": found.source, "since": found.since}
            for digest, found in services.suppressions.list_all()
        ]
    print_table(rows, empty="No recipient is suppressed.", as_json=as_json)


@suppression.command("add")
@click.argument("address")
@change_options
def add_suppression(address: str, reason: str, by: str, *, as_json: bool) -> None:
    """Suppress an address: send nothing to it any more."""
    recipient = read_recipient(address)
    with open_services() as services:
        is_new = actions.suppress(services, recipient, audit_reason(by, reason))
    result: dict[str, Any] = {"recipient": recipient.masked, "reason": reason, "by": by}
    result |= {"wasSuppressed": not is_new}
    print_result(result, as_json=as_json)


@suppression.command("lift")
@click.argument("address")
@reason_option
@click.option("--resend", is_flag=True, help="Also send a new reset to each user who has it.")
@by_option
@json_option
def lift_suppression(address: str, reason: str, by: str, *, resend: bool, as_json: bool) -> None:
    """Lift the suppression of an address; it counts from the next reset on."""
    recipient, why = read_recipient(address), audit_reason(by, reason)
    result: dict[str, Any] = {"recipient": recipient.masked, "reason": reason, "by": by}
    with open_services() as services:
        if not resend:
            actions.lift(services, recipient, why)
        else:
            resent = actions.lift_and_resend(services, recipient, why)
            result["resent"] = [_row(each) for each in resent]
    if as_json:
        print_json(result)
        return
    rows = result.pop("resent", [])
    print_attributes(result)
    if rows:
        print_table(rows, empty="")


def _row(resent: Resent) -> dict[str, str | None]:
    return {"userId": resent.user_id, "resetId": resent.reset_id, "refusal": resent.refusal}


def read_recipient(address: str) -> Recipient:
    """Return the recipient of an address, normalised.

    Raises:
        CommandRefusedError: it is neither an e-mail address nor a phone number.
    """
    is_email = "@" in address
    try:
        normalised = validation.email(address) if is_email else validation.phone(address)
    except ValueError as error:
        raise CommandRefusedError(f"the address {error}") from error
    return Recipient(Channel.EMAIL if is_email else Channel.SMS, normalised)
