"""`keyturn reset send`, `keyturn explain` and `keyturn status`: the operator's questions."""

from __future__ import annotations

import secrets
from typing import Any

import click

from shared.errors import UserUnknownError
from shared.models import DUE_QUEUES, Channel, Queue, Reset
from shared.policies import check_may_reset
from web.cli_failures import RefusedError
from web.cli_house import house
from web.cli_output import json_option, print_facts, print_json
from web.explaining import masked_recipient
from web.house import House
from web.recording import Order, record_reset
from web.schemas import spell, write_reset
from web.verdicts import NO_REQUEST, Verdict, judge

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
    with house() as services:
        user = check_may_reset(services.directory.find_user(user_id), None)
        order = Order(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=Channel(channel),
            reset_id=services.digests.new_reset_id(user_id),
            request_id=secrets.token_hex(8),
        )
        recorded = record_reset(services, order)
    facts = {"resetId": recorded.reset_id, "expiresAt": spell(recorded.deadline_at)}
    print_json(facts) if as_json else print_facts(facts)


@click.command()
@click.option("--reset", "reset_id", metavar="ID", help="One reset.")
@click.option("--user", "user_id", metavar="ID", help="A user's newest reset, and those before it.")
@click.option("--address", metavar="A", help="Everybody who has this address.")
@json_option
def explain(
    reset_id: str | None, user_id: str | None, address: str | None, *, as_json: bool
) -> None:
    """Say in plain words why somebody got, or did not get, a message."""
    if sum(given is not None for given in (reset_id, user_id, address)) != 1:
        raise click.UsageError("give one of --reset, --user and --address")
    with house() as services:
        if reset_id is not None:
            found = services.resets.find(reset_id)
            resets = [found] if found else []
        elif user_id is not None:
            resets = _resets_of(services, user_id)
        else:
            resets = _resets_at(services, address or "")
        told = [_tell(services, each) for each in resets]
    if as_json:
        newest = told[0] if told else _tell_verdict(NO_REQUEST)
        print_json({"verdict": newest["verdict"], "next": newest["next"], "resets": told})
        return
    for facts in told or [_tell_verdict(NO_REQUEST)]:
        print_facts(_for_people(facts))
        click.echo()


def _resets_of(services: House, user_id: str) -> list[Reset]:
    if services.directory.find_user(user_id) is None:
        raise UserUnknownError(f"there is no user {user_id!r} in the directory")
    return services.resets.find_of_user(user_id)


def _resets_at(services: House, address: str) -> list[Reset]:
    users = services.directory.find_users_by_address(address)
    if not users:
        raise RefusedError("no user in the directory has this address")
    return [found for user in users for found in services.resets.find_of_user(user.user_id)]


def _tell(services: House, found: Reset) -> dict[str, Any]:
    now = services.dues.now()
    facts = write_reset(found, recipient=masked_recipient(services, found))
    return {**_tell_verdict(judge(found, now)), **facts}


def _tell_verdict(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.words, "next": verdict.next_step}


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    attempts = [
        f"{each['number']}. {each['provider']} {each['startedAt']} {each['outcome'] or 'under way'}"
        for each in facts.get("attempts", [])
    ]
    events = [
        " ".join(filter(None, (each["at"], each["type"], each["provider"], each["detail"])))
        for each in facts.get("events", [])
    ]
    shown = {name: value for name, value in facts.items() if value not in (None, [], "")}
    return shown | {n: v for n, v in (("attempts", attempts), ("events", events)) if v}


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
