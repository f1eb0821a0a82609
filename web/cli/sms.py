"""`keyturn sms list|allow|block|lift`."""

from __future__ import annotations

from typing import Any

import click

from shared.guard.rules import BLOCK
from shared.store.admin.prefixes import ALLOW, PrefixState
from web.admin.prefixes import LIFT, PREFIXES, change, list_states
from web.cli.admin import audit_reason
from web.cli.support import (
    by_option,
    json_option,
    open_services,
    print_json,
    print_result,
    print_table,
    reason_option,
)
from web.cli.tokens import read_duration


@click.group()
def sms() -> None:
    """Prefixes of phone numbers that are watched, slowed, stopped or allowed."""


@sms.command("list")
@json_option
def list_prefixes(*, as_json: bool) -> None:
    """List prefixes and sources under a rule or an operator's word."""
    with open_services() as services:
        states = list_states(services)
        currency = services.settings.sms_currency
    if as_json:
        print_json(PREFIXES.dump({"prefixes": states})["prefixes"])
        return
    rows = [_row(each, currency) for each in states]
    print_table(rows, empty="No rule holds, and no prefix is named.", optional=("cost", "refused"))


def _add_change(action: str, text: str) -> None:
    @sms.command(action, help=text)
    @click.argument("prefix")
    @click.option("--for", "lifetime", metavar="DURATION",
                  help="How long, in s, m, h or d; without it, until it is lifted.")  # fmt: skip
    @reason_option
    @by_option
    @json_option
    def command(prefix: str, lifetime: str | None, reason: str, by: str, *, as_json: bool) -> None:
        seconds = None if lifetime is None else read_duration(lifetime, option="--for")
        with open_services() as services:
            until = change(services, prefix, action, audit_reason(by, reason), seconds=seconds)
        result: dict[str, Any] = {"prefix": prefix, "action": action, "by": by, "reason": reason}
        print_result(result | {"until": until}, as_json=as_json)


_add_change(ALLOW, "Let SMS to a prefix go out whatever velocity and conversion say.")
_add_change(BLOCK, "Stop SMS to a prefix, those of batches too.")
_add_change(LIFT, "End what a rule or an operator says of a prefix, or of a source as listed.")


def _row(each: PrefixState, currency: str) -> dict[str, Any]:
    past = None if each.past_conversion is None else f"{each.past_conversion:.0%}"
    return {
        "prefix": each.prefix,
        "rule": each.rule,
        "level": each.level,
        "until": each.until,
        "sent": each.sent,
        "used": each.used,
        "past use": past,
        "refused": each.refused or None,
        "cost": None if each.cost is None else f"{each.cost:.2f} {currency}",
        "why": f"{each.by}: {each.reason}",
    }
