"""`keyturn pause`, `resume`, `limit clear`, `audit` and `status`."""

from __future__ import annotations

from typing import Any

import click

from shared.store.admin.pauses import Scope
from web.admin import actions
from web.admin.actions import AuditReason
from web.admin.alerts import find_alerts
from web.admin.providers import ProviderView
from web.admin.schemas import serialise_status
from web.admin.status import QueueView, StatusView, load_status
from web.cli.support import (
    CommandRefusedError,
    json_option,
    open_services,
    print_facts,
    print_json,
    print_table,
)
from web.cli.suppressions import by_option

scope_argument = click.argument("scope", type=click.Choice([each.value for each in Scope]))
reason_option = click.option("--reason", required=True, help="Why; it stands in the audit trail.")


def why(by: str, reason: str) -> AuditReason:
    """Who and why, as options gave them."""
    return AuditReason(by, actions.check_reason(reason))


@click.command("pause")
@scope_argument
@click.argument("name")
@reason_option
@by_option
@json_option
def pause(scope: str, name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Send nothing of a queue, channel, provider or organisation; what comes in waits."""
    with open_services() as services:
        is_new = actions.pause(services, Scope(scope), name, why(by, reason))
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
    with open_services() as services:
        was_paused = actions.resume(
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
    with open_services() as services:
        if name == "user" and services.directory.find_user(about) is None:
            raise CommandRefusedError(f"there is no user {about!r} in the directory")
        was_counted = actions.clear_limit(services, name, about, why(by, reason))
    facts = {"limit": name, "of": about, "by": by, "reason": reason, "wasCounted": was_counted}
    print_json(facts) if as_json else print_facts(facts)


@click.command("audit")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def audit(most: int, *, as_json: bool) -> None:
    """Tell who did what by hand, and why; the newest first."""
    with open_services() as services:
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


SELDOM = ("callbacks", "paused", "last switch")


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say what is wrong first, what waits and how long, and who is working."""
    with open_services() as services:
        view = load_status(services)
    if as_json:
        print_json(serialise_status(view))
        return
    alerts = find_alerts(view)
    click.secho(alerts[0] if alerts else "All is well.", fg="red" if alerts else "green")
    for alert in alerts[1:]:
        click.echo(f"Also: {alert}")
    _print(view)


def _print(view: StatusView) -> None:
    click.echo()
    print_table([_queue(each) for each in view.queues], nothing="", seldom=["paused"])
    click.echo()
    rows = [_provider(each) for each in view.providers]
    print_table(rows, nothing="No provider is configured.", seldom=SELDOM)
    click.echo()
    facts: dict[str, Any] = {
        "open": _counts(dict(view.open)),
        "reached": _counts(dict(view.reached)),
        "completed": view.completed,
    }
    for pause in view.pauses:
        facts[f"paused {pause.scope} {pause.name}"] = f"by {pause.by}: {pause.reason}"
    for release in view.releases:
        pace = f"{release.per_second:g} a second" if release.per_second else "at once"
        told = f"{pace} by {release.by}: {release.moved} so far, {release.too_late} too late"
        facts[f"released {release.scope} {release.name}"] = told
    for batch in view.batches:
        done = batch.recorded + sum(batch.skipped.values())
        facts[f"batch {batch.batch_id}"] = f"{batch.state}, {done} of {batch.total}"
    print_facts(facts)


def _queue(each: QueueView) -> dict[str, Any]:
    return {
        "queue": each.queue.value,
        "depth": _number(each.depth),
        "due": _number(each.due),
        "oldest due": f"{each.oldest_seconds:.1f} s" if each.due else None,
        "in/min": _number(each.in_per_minute),
        "out/min": _number(each.out_per_minute),
        "workers": _number(each.workers),
        "hints": _number(each.hints),
        "paused": f"by {each.pause.by}" if each.pause else None,
    }


def _provider(each: ProviderView) -> dict[str, Any]:
    circuit, switch = each.circuit, each.circuit.last_switch
    return {
        "provider": each.name,
        "channel": each.channel.value,
        "circuit": f"{circuit.state} ({circuit.reason})" if circuit.reason else circuit.state,
        "calls/5 min": _number(each.calls),
        "errors": None if each.error_rate is None else f"{each.error_rate:.1%}",
        "p95": None if each.p95_ms is None else f"≤ {each.p95_ms} ms",
        "callbacks": each.callbacks if each.has_callbacks else None,
        "paused": f"by {each.pause.by}" if each.pause else None,
        "last switch": f"to {switch.to} at {switch.at:%H:%M:%S}" if switch else None,
    }


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _counts(figures: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "none"
