"""`keyturn provider recipients|list|pause|resume|test`."""

from __future__ import annotations

from typing import Any

import click

from shared.models import Outcome
from shared.providers.outbox import SIMULATED
from shared.store.admin.circuits import CircuitState, Switch
from shared.store.admin.pauses import Scope
from web.admin import actions, providers
from web.admin.providers import ProviderView
from web.admin.schemas import PROVIDER
from web.cli.admin import audit_reason
from web.cli.support import (
    CommandRefusedError,
    by_option,
    change_options,
    json_option,
    open_services,
    print_json,
    print_result,
    print_table,
)
from web.cli.suppressions import read_recipient
from web.explain.wording import SWITCH_REASONS, format_time

OPTIONAL_COLUMNS = ("retry in", "paused", "last switch")


@click.group()
def provider() -> None:
    """Providers of e-mail and SMS."""


@provider.command("recipients")
@json_option
def list_recipients(*, as_json: bool) -> None:
    """List the recipients by which the outbox simulates outcomes, in any domain."""
    rows = [
        {"mail": f"{name}@example.com", "phone": each["number"], "outcome": each["what"]}
        for name, each in SIMULATED.items()
    ]
    print_table(rows, empty="", as_json=as_json)


@provider.command("list")
@json_option
def list_providers(*, as_json: bool) -> None:
    """List the providers in order, with circuit, error rate and pause."""
    with open_services() as services:
        views = providers.load_providers(services, providers.read_activity(services))
    if as_json:
        print_json(PROVIDER.dump(views, many=True))
        return
    print_table(
        [_row(view) for view in views],
        empty="No provider is configured.",
        optional=OPTIONAL_COLUMNS,
    )


@provider.command("pause")
@click.argument("name")
@change_options
def pause_provider(name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Stop sending to a provider; the next one of its channel is used."""
    with open_services() as services:
        is_new = actions.pause(services, Scope.PROVIDER, name, audit_reason(by, reason))
    result = {"provider": name, "by": by, "reason": reason, "wasPaused": not is_new}
    print_result(result, as_json=as_json)


@provider.command("resume")
@click.argument("name")
@change_options
def resume_provider(name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Resume sending to a provider; an open circuit becomes half-open at once."""
    with open_services() as services:
        if not providers.resume(services, name, audit_reason(by, reason)):
            raise CommandRefusedError(f"{name} is not paused, and its circuit is not open")
    result = {"provider": name, "by": by, "reason": reason}
    print_result(result, as_json=as_json)


@provider.command("test")
@click.argument("name")
@click.option("--to", "address", required=True, metavar="ADDRESS", help="The recipient.")
@click.option("--language", default="en", show_default=True, help="The language of the message.")
@by_option
@json_option
def try_provider(name: str, address: str, language: str, by: str, *, as_json: bool) -> None:
    """Send one test message through a provider now, even if its circuit is open."""
    recipient = read_recipient(address)
    with open_services() as services:
        outcome = providers.send_test(services, name, recipient, language=language, by=by)
    result = {
        "provider": name,
        "recipient": recipient.masked,
        "outcome": outcome.outcome.value,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "providerMessageId": outcome.provider_message_id,
        "durationMs": outcome.duration_ms,
    }
    print_result(result, as_json=as_json)
    if outcome.outcome is not Outcome.ACCEPTED:
        raise CommandRefusedError(f"{name} did not take it: {outcome.detail}")


def _row(view: ProviderView) -> dict[str, Any]:
    circuit, pause = view.circuit, view.pause
    is_open = circuit.state is CircuitState.OPEN
    return {
        "channel": view.channel.value,
        "order": view.place,
        "provider": view.name,
        "circuit": f"{circuit.state} ({circuit.reason})" if circuit.reason else circuit.state,
        "retry in": f"{circuit.wait_seconds:.0f} s" if is_open else None,
        "errors in 30 s": f"{circuit.error_rate:.0%} of {circuit.calls}" if circuit.calls else None,
        "paused": f"by {pause.by}: {pause.reason}" if pause else None,
        "last switch": _switch(circuit.last_switch),
    }


def _switch(switch: Switch | None) -> str | None:
    if switch is None:
        return None
    reason = SWITCH_REASONS.get(switch.reason, switch.reason)
    return f"to {switch.to} ({reason}) {format_time(switch.at)}"
