"""`keyturn status`: what is wrong first, then queues, providers, resets, pauses and batches."""

from __future__ import annotations

from typing import Any

import click

from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json, print_table
from web.status import ProviderFigures, QueueView, StatusView, look_at_status
from web.status_checks import find_troubles
from web.status_schemas import write_status

SELDOM = ("callbacks", "paused", "last switch")


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say what is wrong first, what waits and how long, and who is working."""
    with house() as services:
        view = look_at_status(services)
    if as_json:
        print_json(write_status(view))
        return
    troubles = find_troubles(view)
    click.secho(troubles[0] if troubles else "All is well.", fg="red" if troubles else "green")
    for trouble in troubles[1:]:
        click.echo(f"Also: {trouble}")
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
        "waiting": _number(each.depth),
        "due": _number(each.due),
        "oldest due": f"{each.oldest_seconds:.1f} s" if each.due else None,
        "in/min": _number(each.in_per_minute),
        "out/min": _number(each.out_per_minute),
        "workers": _number(each.workers),
        "hints": _number(each.hints),
        "paused": f"by {each.pause.by}" if each.pause else None,
    }


def _provider(each: ProviderFigures) -> dict[str, Any]:
    view, circuit = each.view, each.view.circuit
    switch = circuit.last_switch
    return {
        "provider": view.name,
        "channel": view.channel.value,
        "circuit": f"{circuit.state} ({circuit.reason})" if circuit.reason else circuit.state,
        "calls/5 min": _number(each.calls),
        "errors": None if each.error_rate is None else f"{each.error_rate:.1%}",
        "p95": None if each.p95_ms is None else f"≤ {each.p95_ms} ms",
        "callbacks": each.callbacks if each.is_heard else None,
        "paused": f"by {view.pause.by}" if view.pause else None,
        "last switch": f"to {switch.to} at {switch.at:%H:%M:%S}" if switch else None,
    }


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _counts(figures: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "none"
