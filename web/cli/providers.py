"""`keyturn provider list|pause|resume|test`."""

from __future__ import annotations

from typing import Any

import click

from shared.models import Outcome
from shared.store.admin.circuits import CircuitState, Switch
from shared.store.admin.pauses import Scope
from web.admin import actions, providers
from web.admin.providers import ProviderView
from web.admin.schemas import PROVIDER
from web.cli.admin import reason_option, why
from web.cli.support import (
    CommandRefusedError,
    json_option,
    open_services,
    print_facts,
    print_json,
    print_table,
)
from web.cli.suppressions import by_option, read_recipient
from web.explain.wording import SWITCH_REASONS, format_time

SELDOM = ("retry in", "paused", "last switch")


@click.group()
def provider() -> None:
    """Who carries the messages."""


@provider.command("list")
@json_option
def list_providers(*, as_json: bool) -> None:
    """List them in order: is it called, how many of its calls fail, who paused it and why."""
    with open_services() as services:
        views = providers.load_providers(services, providers.read_activity(services))
    if as_json:
        print_json(PROVIDER.dump(views, many=True))
        return
    print_table([_row(view) for view in views], nothing="No provider is configured.", seldom=SELDOM)


@provider.command("pause")
@click.argument("name")
@reason_option
@by_option
@json_option
def pause_provider(name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Hand nothing to a provider; the next of its channel carries the messages."""
    with open_services() as services:
        is_new = actions.pause(services, Scope.PROVIDER, name, why(by, reason))
    facts = {"provider": name, "by": by, "reason": reason, "wasPaused": not is_new}
    print_json(facts) if as_json else print_facts(facts)


@provider.command("resume")
@click.argument("name")
@reason_option
@by_option
@json_option
def resume_provider(name: str, reason: str, by: str, *, as_json: bool) -> None:
    """Hand messages to a provider again; an open circuit is half-opened at once."""
    with open_services() as services:
        if not providers.resume(services, name, why(by, reason)):
            raise CommandRefusedError(f"{name} is not paused, and its circuit is not open")
    facts = {"provider": name, "by": by, "reason": reason}
    print_json(facts) if as_json else print_facts(facts)


@provider.command("test")
@click.argument("name")
@click.option("--to", "address", required=True, metavar="ADDRESS", help="Who gets the message.")
@click.option("--language", default="en", show_default=True, help="Of the message.")
@by_option
@json_option
def try_provider(name: str, address: str, language: str, by: str, *, as_json: bool) -> None:
    """Hand one test message to a provider now, whatever its circuit, and say what came of it."""
    recipient = read_recipient(address)
    with open_services() as services:
        result = providers.send_test(services, name, recipient, language=language, by=by)
    facts = {
        "provider": name,
        "recipient": recipient.masked,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "detail": result.detail,
        "providerMessageId": result.provider_message_id,
        "durationMs": result.duration_ms,
    }
    print_json(facts) if as_json else print_facts(facts)
    if result.outcome is not Outcome.ACCEPTED:
        raise CommandRefusedError(f"{name} did not take it: {result.detail}")


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
