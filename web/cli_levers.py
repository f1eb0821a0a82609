"""`keyturn pause`, `resume`, `limit clear` and `audit`: the operator's levers and their trail."""

from __future__ import annotations

import click

from shared.store.pauses import Scope
from web import levers
from web.cli_failures import RefusedError
from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json, print_table
from web.cli_suppressions import by_option
from web.levers import Why

scope_argument = click.argument("scope", type=click.Choice([each.value for each in Scope]))
reason_option = click.option("--reason", required=True, help="Why; it stands in the audit trail.")


def why(by: str, reason: str) -> Why:
    """Who and why, as options gave them."""
    return Why(by, levers.check_reason(reason))


@click.command("pause")
@scope_argument
@click.argument("name")
@reason_option
@by_option
@json_option
def pause(scope: str, name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Send nothing of a queue, channel, provider or organisation; what comes in waits."""
    with house() as services:
        is_new = levers.pause(services, Scope(scope), name, why(by, reason))
    facts = {"scope": scope, "name": name, "by": by, "reason": reason, "wasPaused": not is_new}
    print_json(facts) if as_json else print_facts(facts)


@click.command("resume")
@scope_argument
@click.argument("name")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Let what waits go at N a second; all at once, when not given.")  # fmt: skip
@reason_option
@by_option
@json_option
def resume(
    scope: str, name: str, rate: float | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Send again; what waited meanwhile goes at once, or at a pace."""
    with house() as services:
        was_paused = levers.resume(
            services, Scope(scope), name, why(by, reason), per_second=rate or 0
        )
    facts = {"scope": scope, "name": name, "by": by, "reason": reason, "wasPaused": was_paused}
    facts |= {"ratePerSecond": rate or 0}
    print_json(facts) if as_json else print_facts(facts)


@click.group()
def limit() -> None:
    """Limits on how often resets are taken."""


@limit.command("clear")
@click.option("--user", metavar="ID", help="A user's cool-down, hour and day.")
@click.option("--org", "organisation", metavar="ID", help="An organisation's minute.")
@click.option("--caller", metavar="ID", help="A token's minute, by the token's id.")
@click.option("--sms-budget", is_flag=True, help="The day's budget of SMS.")
@reason_option
@by_option
@json_option
def clear_limit(
    user: str | None,
    organisation: str | None,
    caller: str | None,
    reason: str,
    by: str,
    *,
    sms_budget: bool,
    as_json: bool,
) -> None:
    """Forget what was counted toward one limit, so that the next reset is taken."""
    given = {"user": user, "organisation": organisation, "caller": caller}
    chosen = [(name, about) for name, about in given.items() if about is not None]
    chosen += [("sms_budget", "")] if sms_budget else []
    if len(chosen) != 1:
        raise click.UsageError("give one of --user, --org, --caller and --sms-budget")
    name, about = chosen[0]
    with house() as services:
        if name == "user" and services.directory.find_user(about) is None:
            raise RefusedError(f"there is no user {about!r} in the directory")
        was_counted = levers.clear_limit(services, name, about, why(by, reason))
    facts = {"limit": name, "of": about, "by": by, "reason": reason, "wasCounted": was_counted}
    print_json(facts) if as_json else print_facts(facts)


@click.command("audit")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def audit(most: int, *, as_json: bool) -> None:
    """Tell who did what by hand, and why; the newest first."""
    with house() as services:
        entries = services.audit.newest(most=most)
    rows = [
        {"at": entry.at, "by": entry.act.by, "action": entry.act.action,
         "target": entry.act.target, "reason": entry.act.reason}
        for entry in entries
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        print_table(rows, nothing="Nobody has done anything by hand.")
