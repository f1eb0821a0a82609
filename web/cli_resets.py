"""`keyturn reset send` and `keyturn status`."""

from __future__ import annotations

import secrets
from typing import Any

import click

from shared.models import DUE_QUEUES, Channel, Queue
from shared.policies import check_may_reset
from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json
from web.house import House
from web.recording import Order, record_reset
from web.refusing import Asking, remembered
from web.schemas import spell

LATE_SECONDS = 30  # a person gives up about then


@click.group()
def reset() -> None:
    """Resets."""


@reset.command("send")
@click.argument("user_id", metavar="USER")
@click.option("--type", "channel", type=click.Choice([each.value for each in Channel]),
              default=Channel.EMAIL.value, show_default=True)  # fmt: skip
@json_option
def send_reset(user_id: str, channel: str, *, as_json: bool) -> None:
    """Ask for a reset, under the same limits as everybody."""
    asked = Asking(user_id, Channel(channel), secrets.token_hex(8))
    with house() as services, remembered(services, asked):
        user = check_may_reset(services.directory.find_user(user_id), None)
        order = Order(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=asked.channel,
            reset_id=services.digests.new_reset_id(user_id),
            request_id=asked.request_id,
        )
        recorded = record_reset(services, order)
    facts = {"resetId": recorded.reset_id, "expiresAt": spell(recorded.deadline_at)}
    print_json(facts) if as_json else print_facts(facts)


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say what is waiting, how old it is, and who is working."""
    with house() as services:
        facts = read_status(services)
    if as_json:
        print_json(facts)
        return
    trouble = _first_trouble(facts)
    click.secho(trouble or "All is well.", fg="red" if trouble else "green")
    print_facts({n: _counts(v) if isinstance(v, dict) else v for n, v in facts.items()})


def read_status(services: House) -> dict[str, Any]:
    """The figures of `keyturn status`."""
    views = {queue: services.dues.look(queue) for queue in DUE_QUEUES}
    totals = services.counters.totals()
    reached: dict[str, int] = {}
    for name, value in totals.items():
        if name.startswith("to:"):
            word = name.rpartition(":")[2]
            reached[word] = reached.get(word, 0) + value
    return {
        "due": {queue.value: view.waiting for queue, view in views.items()},
        "dueNow": {queue.value: view.due for queue, view in views.items()},
        "oldestDueSeconds": round(max(v.oldest_age_seconds for v in views.values()), 3),
        "hints": _hints(services),
        "workers": {q.value: len(services.dues.workers_seen(q)) for q in Queue},
        "open": {n[4:]: v for n, v in sorted(totals.items()) if n.startswith("now:") and v},
        "reached": dict(sorted(reached.items())),
        "completed": totals["completed"],
    }


def _hints(services: House) -> dict[str, int]:
    if not services.hints.is_connected():
        return {}
    return {queue.value: services.hints.waiting(queue) for queue in Queue}


def _first_trouble(facts: dict[str, Any]) -> str | None:
    for queue, number in facts["workers"].items():
        if not number:
            return f"No worker of the {queue} queue was seen in the last 5 s: start one."
    age = facts["oldestDueSeconds"]
    if age > LATE_SECONDS:
        return (
            f"The oldest reset has been due for {age:.0f} s: too few workers, or a slow provider."
        )
    if not facts["hints"]:
        return (
            "The broker does not answer: sweepers deliver by themselves, at their own pace; "
            "bring it back."
        )
    return None


def _counts(figures: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "none"
