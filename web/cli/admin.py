"""`keyturn pause`, `resume`, `limit clear`, `audit` and `status`."""

from __future__ import annotations

from typing import Any

import click

from shared.store.admin.pauses import Scope
from web.admin import actions
from web.admin.actions import AuditReason
from web.admin.alerts import find_alerts
from web.admin.providers import ProviderView
from web.admin.status import QueueView, StatusView, load_status
from web.cli.support import (
    CommandRefusedError,
    change_options,
    json_option,
    open_services,
    print_attributes,
    print_json,
    print_result,
    print_table,
)
from web.explain.wording import describe_guesses

MAX_GUESSES_SHOWN = 10
OPTIONAL_COLUMNS = ("callbacks", "paused", "last switch")

scope_argument = click.argument("scope", type=click.Choice([each.value for each in Scope]))


def audit_reason(by: str, reason: str) -> AuditReason:
    """Return who makes a change and why; raise an error unless the reason is valid."""
    return AuditReason(by, actions.check_reason(reason))


@click.command("pause")
@scope_argument
@click.argument("name")
@change_options
def pause(scope: str, name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Pause a queue, channel, provider or organisation; new resets wait."""
    with open_services() as services:
        is_new = actions.pause(services, Scope(scope), name, audit_reason(by, reason))
    result = {"scope": scope, "name": name, "by": by, "reason": reason, "wasPaused": not is_new}
    print_result(result, as_json=as_json)


@click.command("resume")
@scope_argument
@click.argument("name")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Send waiting resets at N per second; without it, all at once.")  # fmt: skip
@change_options
def resume(
    scope: str, name: str, rate: float | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Resume a queue, channel, provider or organisation."""
    with open_services() as services:
        was_paused = actions.resume(
            services, Scope(scope), name, audit_reason(by, reason), per_second=rate or 0
        )
    result = {"scope": scope, "name": name, "by": by, "reason": reason, "wasPaused": was_paused}
    result |= {"ratePerSecond": rate or 0}
    print_result(result, as_json=as_json)


@click.group()
def limit() -> None:
    """Rate limits of resets."""


@limit.command("clear")
@click.option("--user", metavar="ID", help="A user's limits, and all guesses at its codes.")
@click.option("--org", "organisation", metavar="ID", help="An organisation's limit per minute.")
@click.option("--caller", metavar="ID", help="A token's limit per minute; ID is the token's id.")
@click.option("--sms-budget", is_flag=True, help="The daily SMS budget.")
@change_options
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
    """Clear the counter of one limit, so that the next reset is accepted."""
    ids = {"user": user, "organisation": organisation, "caller": caller}
    chosen = [(name, about) for name, about in ids.items() if about is not None]
    chosen += [("sms_budget", "")] if sms_budget else []
    if len(chosen) != 1:
        raise click.UsageError("give one of --user, --org, --caller and --sms-budget")
    name, about = chosen[0]
    with open_services() as services:
        if name == "user" and services.directory.find_user(about) is None:
            raise CommandRefusedError(f"there is no user {about!r} in the directory")
        cleared = actions.clear_limit(services, name, about, audit_reason(by, reason))
    result = {"limit": name, "of": about, "by": by, "reason": reason, "wasCounted": bool(cleared)}
    result["cleared"] = cleared if as_json else _format_counts(cleared)
    print_result(result, as_json=as_json)


@click.group("audit", invoke_without_command=True)
@click.option("--limit", "--most", "max_entries", type=click.IntRange(1, 10_000), default=50,
              show_default=True, help="How many entries at most.")  # fmt: skip
@json_option
@click.pass_context
def audit(context: click.Context, max_entries: int, *, as_json: bool) -> None:
    """List acts by hand and by permission, newest first; verify or export all."""
    if context.invoked_subcommand:
        return
    with open_services() as services:
        entries = services.audit.newest(most=max_entries)
    if as_json:
        from web.admin.schemas import AUDIT_ENTRY  # noqa: PLC0415 - loads marshmallow

        print_json(AUDIT_ENTRY.dump(entries, many=True))
        return
    rows = [
        {"at": entry.at, "by": entry.act.by, "action": entry.act.action,
         "target": entry.act.target, "reason": entry.act.reason,
         "outcome": entry.outcome, "source": entry.source}
        for entry in entries
    ]  # fmt: skip
    print_table(rows, empty="The audit trail is empty.")


@audit.command("verify")
@json_option
def verify_audit(*, as_json: bool) -> None:
    """Follow the chain of digests; name the first entry that does not fit."""
    with open_services() as services:
        found = services.audit.verify()
    result: dict[str, Any] = {"isWhole": found.misfit is None, "entries": found.fitting}
    result |= {"beforeTheChain": found.unchained, "misfit": found.misfit}
    print_result(result, as_json=as_json)
    if found.misfit:
        raise CommandRefusedError(f"the audit trail was changed: {found.misfit}")


@audit.command("export")
def export_audit() -> None:
    """Print every act, newest first, as JSON Lines."""
    from web.admin.schemas import AUDIT_ENTRY  # noqa: PLC0415

    with open_services() as services:
        for entry in services.audit.entries():
            print_json(AUDIT_ENTRY.dump(entry))


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show alerts, queues, providers and workers."""
    with open_services() as services:
        view = load_status(services)
    if as_json:
        from web.admin.schemas import serialise_status  # noqa: PLC0415

        print_json(serialise_status(view))
        return
    alerts = find_alerts(view)
    click.secho(alerts[0] if alerts else "All is well.", fg="red" if alerts else "green")
    for alert in alerts[1:]:
        click.echo(f"Also: {alert}")
    _print_status(view)


def _print_status(view: StatusView) -> None:
    click.echo()
    print_table([_queue_row(each) for each in view.queues], empty="", optional=["paused"])
    click.echo()
    rows = [_provider_row(each) for each in view.providers]
    print_table(rows, empty="No provider is configured.", optional=OPTIONAL_COLUMNS)
    click.echo()
    result: dict[str, Any] = {
        "open": _format_counts(dict(view.open)),
        "reached": _format_counts(dict(view.reached)),
        "completed": view.completed,
    }
    if view.forgotten or view.forgotten_dropped:
        dropped = f", {view.forgotten_dropped} dropped" if view.forgotten_dropped else ""
        result["forgotten passwords"] = f"{view.forgotten} wait to be looked up{dropped}"
    for pause in view.pauses:
        result[f"paused {pause.scope} {pause.name}"] = f"by {pause.by}: {pause.reason}"
    for release in view.releases:
        pace = f"{release.per_second:g} per second" if release.per_second else "at once"
        progress = f"{pace} by {release.by}: {release.moved} so far, {release.too_late} too late"
        result[f"released {release.scope} {release.name}"] = progress
    for batch in view.batches:
        result[f"batch {batch.batch.batch_id}"] = batch.sentence
    for state in view.sms:
        until = f" until {state.until:%Y-%m-%d %H:%M:%S} UTC" if state.until else ""
        result[f"SMS {state.prefix}"] = (
            f"{state.rule}, {state.level}{until} by {state.by}: {state.reason} "
            f"(sent {state.sent}, used {state.used}, refused {state.refused})"
        )
    for each in view.guesses[:MAX_GUESSES_SHOWN]:
        result[f"guesses {each.user_id} {each.source}"] = describe_guesses(each)
    print_attributes(result)


def _queue_row(each: QueueView) -> dict[str, Any]:
    return {
        "queue": each.queue.value,
        "depth": _format_number(each.depth),
        "due": _format_number(each.due),
        "oldest due": f"{each.oldest_seconds:.1f} s" if each.due else None,
        "in/min": _format_number(each.in_per_minute),
        "out/min": _format_number(each.out_per_minute),
        "workers": _format_number(each.workers),
        "hints": _format_number(each.hints),
        "paused": f"by {each.pause.by}" if each.pause else None,
    }


def _provider_row(each: ProviderView) -> dict[str, Any]:
    circuit, switch = each.circuit, each.circuit.last_switch
    return {
        "provider": each.name,
        "channel": each.channel.value,
        "circuit": f"{circuit.state} ({circuit.reason})" if circuit.reason else circuit.state,
        "calls/5 min": _format_number(each.calls),
        "errors": None if each.error_rate is None else f"{each.error_rate:.1%}",
        "p95": None if each.p95_ms is None else f"≤ {each.p95_ms} ms",
        "callbacks": each.callbacks if each.has_callbacks else None,
        "paused": f"by {each.pause.by}" if each.pause else None,
        "last switch": f"to {switch.to} at {switch.at:%H:%M:%S}" if switch else None,
    }


def _format_number(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
