"""What commands print: JSON for programs, a table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

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


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form here")
