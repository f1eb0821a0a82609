"""`keyturn batch plan|start|pause|resume|cancel|list|report`."""

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
from web.batches.progress import (
    MAX_SCANNED,
    list_batches,
    list_results,
    read_progress,
    write_plan,
    write_progress,
)
from web.batches.schemas import PROVIDERS, STATUSES, read_user_ids
from web.batches.service import BatchRequest, Selection, change_batch, make_batch, start_plan
from web.batches.uploads import read_entries
from web.cli.batch_watch import wait_for_plan, watch
from web.cli.support import (
    CommandRefusedError,
    by_option,
    json_option,
    open_services,
    optional_reason_option,
    print_attributes,
    print_json,
    print_table,
)
from web.services import WebServices

CHUNK_BYTES = 64 * 1024
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MAX_AGO = timedelta(days=36_500)  # before any reset; more would leave the calendar
AGO = re.compile(r"([0-9]{1,6})([smhd])")

id_argument = click.argument("batch_id", metavar="ID")
rate_option = click.option("--rate", type=float, metavar="N",
                           help="Resets per second; 0: as fast as possible.")  # fmt: skip


def selection_options(command: Any) -> Any:
    """Add the options that select users and set how a batch is sent."""
    statuses = click.Choice([each.value for each in STATUSES])
    channels = click.Choice([each.value for each in Channel])
    time_help = "A time such as 2026-11-23T12:00:00Z, or 90m, 6h, 2d ago."
    options = (
        click.option("--file", "file", type=click.File("rb"),
                     help="User ids, a line each; JSON Lines or a .csv with userId; - is stdin."),
        click.option("--user", "user_ids", multiple=True, metavar="ID",
                     help="A user id; may be repeated."),
        click.option("--org", "org_id", metavar="ID", help="Past resets of this organisation."),
        click.option("--since", metavar="T", help=f"Past resets since then. {time_help}"),
        click.option("--until", metavar="T", help="Past resets until then."),
        click.option("--channel", type=channels, help="Past resets on this channel."),
        click.option("--provider", type=click.Choice(PROVIDERS),
                     help="Past resets whose last attempt used this provider."),
        click.option("--status", "statuses", type=statuses, multiple=True,
                     help="Past resets with this status; may be repeated, the default is all."),
        click.option("--type", "type_", type=channels, default=Channel.EMAIL.value,
                     show_default=True, help="What is sent."),
        rate_option, optional_reason_option, by_option, json_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def batch() -> None:
    """Batches: many resets at once."""


batch.add_command(watch)


@batch.command("plan")
@selection_options
def plan(
    *, rate: float | None, reason: str, by: str, type_: str, as_json: bool, **chosen: Any
) -> None:
    """Count the users of a batch and its cost; send nothing."""
    with open_services() as services:
        request = BatchRequest(
            selection=_selection(services, chosen),
            channel=Channel(type_),
            rate_per_second=_check_rate(rate),
            reason=reason,
            is_plan=True,
        )
        planned = make_batch(services, authority_by_hand(by), request)
        planned = wait_for_plan(services, planned, is_quiet=as_json)
        _print_plan(services, planned, as_json=as_json)


@batch.command("start")
@click.option("--plan", "plan_id", metavar="ID", help="The plan to start.")
@selection_options
def start(*, plan_id: str | None, rate: float | None, reason: str, by: str, type_: str,
          as_json: bool, **chosen: Any) -> None:  # fmt: skip
    """Start a batch, planned or not."""
    with open_services() as services:
        authority = authority_by_hand(by)
        if plan_id is not None:
            if any(chosen.values()):
                raise click.UsageError("a plan has its selection: give --plan alone")
            pace = None if rate is None else _check_rate(rate)
            begun = start_plan(services, authority, plan_id, rate=pace, reason=reason)
        else:
            request = BatchRequest(
                selection=_selection(services, chosen),
                channel=Channel(type_),
                rate_per_second=_check_rate(rate),
                reason=reason,
            )
            begun = make_batch(services, authority, request)
    if as_json:
        print_json({"batchId": begun.batch_id, "total": begun.total})
    else:
        print_attributes({"batch": begun.batch_id, "total": begun.total})
        click.echo(f"Watch it: keyturn batch watch {begun.batch_id}")


def _add_command(action: BatchAction, text: str) -> None:
    @batch.command(action.value, help=text)
    @id_argument
    @optional_reason_option
    @by_option
    @json_option
    def change(batch_id: str, reason: str, by: str, *, as_json: bool) -> None:
        with open_services() as services:
            changed = change_batch(services, authority_by_hand(by), batch_id, action, reason=reason)
            _print_progress(services, changed, as_json=as_json)


_add_command(BatchAction.PAUSE, "Stop sending a batch until it is resumed.")
_add_command(BatchAction.RESUME, "Resume a paused batch.")
_add_command(BatchAction.CANCEL, "Cancel a batch: resets that were not sent yet never are.")


@batch.command("list")
@click.option("--limit", "--most", type=click.IntRange(1, MAX_SCANNED), default=20,
              show_default=True, help="How many batches at most.")  # fmt: skip
@json_option
def list_all(*, limit: int, as_json: bool) -> None:
    """List the batches that are kept, newest first."""
    with open_services() as services:
        found, _ = list_batches(services, authority_by_hand("list"), after=None, most=limit)
        rows = [write_progress(each, services.settings) for each in found]
    if as_json:
        print_json(rows)
        return
    columns = ("batchId", "createdAt", "by", "type", "total", "sentence", "reason")
    shown = [{name: row[name] for name in columns} for row in rows]
    print_table(shown, empty="There are no batches; `keyturn batch plan` makes one.")


@batch.command("report")
@id_argument
@click.option("--users", is_flag=True, help="The result of every user, as JSON Lines.")
@json_option
def report(batch_id: str, *, users: bool, as_json: bool) -> None:
    """Show the progress of a batch, or the result of every user."""
    with open_services() as services:
        found = authority_by_hand("report").authorize(services.batches.find(batch_id))
        if not users:
            _print_progress(services, found, as_json=as_json)
            return
        for results in list_results(services, found):
            for each in results:
                click.echo(json.dumps(each, ensure_ascii=False))


def _print_progress(services: WebServices, found: Batch, *, as_json: bool) -> None:
    result = write_progress(read_progress(services, found), services.settings)
    if as_json:
        print_json(result)
    else:
        _print_counts({n: v for n, v in result.items() if v not in (None, "", {}) and n != "plan"})


def _print_plan(services: WebServices, planned: Batch, *, as_json: bool) -> None:
    result = write_plan(planned, services.settings)
    if as_json:
        print_json({"planId": planned.batch_id, "state": planned.state.value, "plan": result})
        return
    print_attributes({"plan": planned.batch_id, "state": planned.state.value})
    if result is None:
        return
    sms = result.pop("sms", {})
    _print_counts(result | {f"SMS {name}": value for name, value in sms.items()})
    click.echo(f"Start it: keyturn batch start --plan {planned.batch_id}")


def _print_counts(attributes: dict[str, Any]) -> None:
    """Print attributes, each mapping of counts on one line."""
    lines = {}
    for name, value in attributes.items():
        if isinstance(value, dict):
            lines[name] = ", ".join(f"{n} {count:,}" for n, count in value.items()) or "none"
        else:
            lines[name] = value
    print_attributes(lines)


def _selection(services: WebServices, chosen: dict[str, Any]) -> Selection:
    filters = ("org_id", "since", "until", "channel", "provider", "statuses")
    file, user_ids = chosen["file"], chosen["user_ids"]
    if (file is not None) + bool(user_ids) + any(chosen[name] for name in filters) != 1:
        raise click.UsageError("give --file, or --user, or a filter over past resets")
    if file is not None:
        is_csv = file.name.lower().endswith(".csv")
        return read_entries(iter(lambda: file.read(CHUNK_BYTES), b""), is_csv=is_csv)
    if user_ids:
        return read_user_ids(list(user_ids))
    return _filter(services, chosen)


def _filter(services: WebServices, chosen: dict[str, Any]) -> HistoryFilter:
    org_id, channel = chosen["org_id"], chosen["channel"]
    if org_id and not services.callers.organisation_exists(org_id):
        raise OrganisationUnknownError(f"Organisation {org_id} doesn't exist")
    now = services.dues.now()
    since, until = (read_time(name, chosen[name], now) for name in ("since", "until"))
    if since and until and until < since:
        raise CommandRefusedError("--until is before --since")
    return HistoryFilter(
        org_id=org_id,
        since=since,
        until=until,
        channel=Channel(channel) if channel else None,
        provider=chosen["provider"],
        statuses=frozenset(map(Status, chosen["statuses"] or STATUSES)),
    )


def read_time(name: str, text: str | None, now: datetime) -> datetime | None:
    """Return the moment of an option: a timestamp, or how long ago."""
    if text is None:
        return None
    if ago := AGO.fullmatch(text):
        return now - min(timedelta(**{UNITS[ago[2]]: int(ago[1])}), MAX_AGO)
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise CommandRefusedError(f"--{name} {error}, or 90m, 6h, 2d") from error


def _check_rate(rate: float | None) -> float:
    if rate is not None and not rate >= 0:
        raise InvalidRequestError("--rate must be a number, 0 or more; 0 means no limit")
    return rate or 0
