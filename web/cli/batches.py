"""`keyturn batch plan|start|pause|resume|cancel|report`."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import click

from shared.errors import InvalidRequestError, OrganisationUnknownError
from shared.models import Channel, Status
from shared.store.batches import Batch, BatchAction
from shared.store.history import HistoryFilter
from shared.validation import parse_timestamp
from web.auth import authority_by_hand
from web.batches.progress import list_results, read_progress, write_plan, write_progress
from web.batches.schemas import PROVIDERS, STATUSES, read_user_ids
from web.batches.service import BatchRequest, Selection, change_batch, make_batch, start_plan
from web.batches.uploads import read_entries
from web.cli.batch_watch import wait_for_plan, watch
from web.cli.support import CommandRefusedError, json_option, open_services, print_facts, print_json
from web.cli.suppressions import by_option
from web.services import WebServices

PIECE_BYTES = 64 * 1024
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST_AGO = timedelta(days=36_500)  # before any reset; more would leave the calendar
AGO = re.compile(r"([0-9]{1,6})([smhd])")

reason_option = click.option("--reason", default="", help="Why; it stands in the audit trail.")
id_argument = click.argument("batch_id", metavar="ID")
rate_option = click.option("--rate", type=float, metavar="N",
                           help="So many a second; 0: as fast as providers take them.")  # fmt: skip


def selection_options(command: Any) -> Any:
    """Add the options that select users and say how a batch is sent."""
    statuses = click.Choice([each.value for each in STATUSES])
    channels = click.Choice([each.value for each in Channel])
    moment = "A moment such as 2026-11-23T12:00:00Z, or 90m, 6h, 2d ago."
    options = (
        click.option("--file", "file", type=click.File("rb"),
                     help="A user id a line, or JSON Lines with userId; - is standard input."),
        click.option("--user", "user_ids", multiple=True, metavar="ID", help="May be repeated."),
        click.option("--org", "org_id", metavar="ID", help="Past resets of this organisation."),
        click.option("--since", metavar="T", help=f"Past resets since then. {moment}"),
        click.option("--until", metavar="T", help="Past resets until then."),
        click.option("--channel", type=channels, help="Past resets on this channel."),
        click.option("--provider", type=click.Choice(PROVIDERS),
                     help="Past resets whose last attempt went there."),
        click.option("--status", "statuses", type=statuses, multiple=True,
                     help="Past resets that stand so; all of these when not given."),
        click.option("--type", "type_", type=channels, default=Channel.EMAIL.value,
                     show_default=True, help="What is sent."),
        rate_option, reason_option, by_option, json_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def batch() -> None:
    """Many resets at once: after an outage, for a list."""


batch.add_command(watch)


@batch.command("plan")
@selection_options
def plan(
    *, rate: float | None, reason: str, by: str, type_: str, as_json: bool, **chosen: Any
) -> None:
    """Count whom a batch would be sent to, and at what cost; nothing is sent."""
    with open_services() as services:
        request = BatchRequest(
            selection=_selection(services, chosen),
            channel=Channel(type_),
            rate_per_second=_rate(rate),
            reason=reason,
            is_plan=True,
        )
        planned = make_batch(services, authority_by_hand(by), request)
        planned = wait_for_plan(services, planned, is_quiet=as_json)
        _print_plan(services, planned, as_json=as_json)


@batch.command("start")
@click.option("--plan", "plan_id", metavar="ID", help="Start what was planned.")
@selection_options
def start(*, plan_id: str | None, rate: float | None, reason: str, by: str, type_: str,
          as_json: bool, **chosen: Any) -> None:  # fmt: skip
    """Start a batch, planned or not."""
    with open_services() as services:
        authority = authority_by_hand(by)
        if plan_id is not None:
            if any(chosen.values()):
                raise click.UsageError("a plan has its selection: give --plan alone")
            pace = None if rate is None else _rate(rate)
            begun = start_plan(services, authority, plan_id, rate=pace, reason=reason)
        else:
            request = BatchRequest(
                selection=_selection(services, chosen),
                channel=Channel(type_),
                rate_per_second=_rate(rate),
                reason=reason,
            )
            begun = make_batch(services, authority, request)
    if as_json:
        print_json({"batchId": begun.batch_id, "total": begun.total})
    else:
        print_facts({"batch": begun.batch_id, "total": begun.total})
        click.echo(f"See it go: keyturn batch watch {begun.batch_id}")


def _add_command(action: BatchAction, text: str) -> None:
    @batch.command(action.value, help=text)
    @id_argument
    @reason_option
    @by_option
    @json_option
    def change(batch_id: str, reason: str, by: str, *, as_json: bool) -> None:
        with open_services() as services:
            changed = change_batch(services, authority_by_hand(by), batch_id, action, reason=reason)
            _print_progress(services, changed, as_json=as_json)


_add_command(BatchAction.PAUSE, "Send nothing more of a batch until it is resumed.")
_add_command(BatchAction.RESUME, "Go on with a paused batch.")
_add_command(BatchAction.CANCEL, "End a batch: what was not handed over never will be.")


@batch.command("report")
@id_argument
@click.option("--users", is_flag=True, help="What became of every user, as JSON Lines.")
@json_option
def report(batch_id: str, *, users: bool, as_json: bool) -> None:
    """Say how a batch stands, or what became of everybody in it."""
    with open_services() as services:
        found = authority_by_hand("report").authorize(services.batches.find(batch_id))
        if not users:
            _print_progress(services, found, as_json=as_json)
            return
        for results in list_results(services, found):
            for result in results:
                click.echo(json.dumps(result, ensure_ascii=False))


def _print_progress(services: WebServices, found: Batch, *, as_json: bool) -> None:
    facts = write_progress(read_progress(services, found), services.settings)
    if as_json:
        print_json(facts)
    else:
        _print_counts({n: v for n, v in facts.items() if v not in (None, "", {}) and n != "plan"})


def _print_plan(services: WebServices, planned: Batch, *, as_json: bool) -> None:
    facts = write_plan(planned, services.settings)
    if as_json:
        print_json({"planId": planned.batch_id, "state": planned.state.value, "plan": facts})
        return
    print_facts({"plan": planned.batch_id, "state": planned.state.value})
    if facts is None:
        return
    sms = facts.pop("sms", {})
    _print_counts(facts | {f"SMS {name}": value for name, value in sms.items()})
    click.echo(f"Start it: keyturn batch start --plan {planned.batch_id}")


def _print_counts(facts: dict[str, Any]) -> None:
    """Print facts; those that are counts by name, in one line each."""
    lines = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            lines[name] = ", ".join(f"{n} {count:,}" for n, count in value.items()) or "none"
        else:
            lines[name] = value
    print_facts(lines)


def _selection(services: WebServices, chosen: dict[str, Any]) -> Selection:
    past = ("org_id", "since", "until", "channel", "provider", "statuses")
    file, user_ids = chosen["file"], chosen["user_ids"]
    if (file is not None) + bool(user_ids) + any(chosen[name] for name in past) != 1:
        raise click.UsageError("give --file, or --user, or a filter over past resets")
    if file is not None:
        return read_entries(iter(lambda: file.read(PIECE_BYTES), b""))
    if user_ids:
        return read_user_ids(list(user_ids))
    return _filter(services, chosen)


def _filter(services: WebServices, chosen: dict[str, Any]) -> HistoryFilter:
    org_id, channel = chosen["org_id"], chosen["channel"]
    if org_id and not services.callers.organisation_exists(org_id):
        raise OrganisationUnknownError(f"Organisation {org_id} doesn't exist")
    now = services.dues.now()
    since, until = (_moment(name, chosen[name], now) for name in ("since", "until"))
    if since and until and until < since:
        raise CommandRefusedError("--until lies before --since")
    return HistoryFilter(
        org_id=org_id,
        since=since,
        until=until,
        channel=Channel(channel) if channel else None,
        provider=chosen["provider"],
        statuses=frozenset(map(Status, chosen["statuses"] or STATUSES)),
    )


def _moment(name: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    if ago := AGO.fullmatch(text):
        return now - min(timedelta(**{UNITS[ago[2]]: int(ago[1])}), LONGEST_AGO)
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise CommandRefusedError(f"--{name} {error}, or 90m, 6h, 2d") from error


def _rate(rate: float | None) -> float:
    if rate is not None and not rate >= 0:
        raise InvalidRequestError("--rate must be a number, 0 or more; 0 means no pace")
    return rate or 0
