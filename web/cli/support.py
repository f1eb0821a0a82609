"""What all commands share: services, options, output as JSON or as a table, errors."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.errors import (
    DirectoryUnavailableError,
    KeyturnError,
    SettingsError,
    StoreUnavailableError,
)
from shared.queue import HintPublisher, make_celery
from shared.settings import load_settings
from shared.tracing import bind_request_id
from shared.validation import format_timestamp
from shared.wiring import build_services, check_server, connect_store
from web.services import WebServices, build_web_services

PIPE_COLUMNS = 240  # nobody reads a pipe by eye: do not fold lines there

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """One JSON value on one line; moments in RFC 3339."""
    click.echo(json.dumps(value, default=_as_json, ensure_ascii=False))


def print_table(
    rows: Sequence[Mapping[str, Any]], *, nothing: str, seldom: Collection[str] = ()
) -> None:
    """Rows of the same fields; the sentence `nothing` when there are none.

    The fields `seldom` are left out where no row has them: lines shall fit a terminal.
    """
    if not rows:
        click.echo(nothing)
        return
    shown = [n for n in rows[0] if n not in seldom or any(row[n] is not None for row in rows)]
    table = Table(*shown, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in shown))
    _print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """One thing, a line for each of its facts."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), _cell(value))
    _print(table)


def _print(table: Table) -> None:
    """Without the blanks that fill up a table's last column: people paste it into tickets."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _cell(value: Any) -> Text:
    return Text(printable(_as_words(value)), overflow="fold")


def printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _as_words(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S UTC")
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)


def _as_json(value: Any) -> str | None:
    if isinstance(value, datetime):
        return format_timestamp(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")


class CommandRefusedError(click.ClickException):
    """What was asked for is refused, for the reason given; exit status 1."""


@contextmanager
def tell_failures() -> Iterator[None]:
    """Turn what Keyturn raises into a sentence on stderr and exit status 1."""
    try:
        yield
    except (StoreUnavailableError, DirectoryUnavailableError) as error:
        raise CommandRefusedError(_unavailable(error)) from error
    except (SettingsError, KeyturnError) as error:
        raise CommandRefusedError(str(error)) from error


def _unavailable(error: StoreUnavailableError | DirectoryUnavailableError) -> str:
    is_plain = error.message == (type(error).__doc__ or "").strip()
    before = "" if is_plain else f"{error.message}. "
    return (
        f"{before}Redis at {_server_name()} does not serve this ({_root_cause(error)}); "
        "start it (`keyturn up` starts one), or set KEYTURN_REDIS_URL"
    )


def _server_name() -> str:
    """Where the server is, without its password."""
    parts = urlsplit(load_settings(os.environ).server_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _root_cause(error: BaseException) -> str:
    """The name of the first failure: its text may repeat what was sent."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


@contextmanager
def open_services() -> Iterator[WebServices]:
    """The services; on leaving, its hints are published."""
    settings = load_settings(os.environ)
    bind_request_id(secrets.token_hex(8))
    check_server(settings)
    hints = HintPublisher(make_celery(settings))
    services = build_services(settings, client=connect_store(settings), hints=hints)
    try:
        yield build_web_services(services)
    finally:
        hints.close()
