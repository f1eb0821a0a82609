"""What all commands share: services, options, output as JSON or as a table, errors."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import secrets
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from shared.directories.redis import RedisDirectory
from shared.errors import (
    DirectoryUnavailableError,
    KeyturnError,
    SettingsError,
    StoreUnavailableError,
)
from shared.models import DUE_QUEUES, Queue
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.store.admin.statistics import ServerStore
from shared.tracing import bind_context, bind_request_id
from shared.validation import format_timestamp
from shared.wiring import build_services, check_server, connect_store
from web.services import WebServices, build_web_services

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MAX_NAMES = 10_000  # of users, for completion
PIPE_COLUMNS = 240  # lines are not folded in a pipe

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by_option = click.option(
    "--by", default=getpass.getuser, help="Who makes the change; the default is the login name."
)
REASON_HELP = "Why; recorded in the audit trail."
reason_option = click.option("--reason", required=True, help=REASON_HELP)
optional_reason_option = click.option("--reason", default="", help=REASON_HELP)
Command = TypeVar("Command", bound=Callable[..., object])


def change_options(command: Command) -> Command:
    """Add --reason, --by and --json, the options of what changes something."""
    return reason_option(by_option(json_option(command)))


def print_json(value: Any) -> None:
    """Print a value as JSON on one line; times in RFC 3339."""
    click.echo(json.dumps(value, default=_as_json, ensure_ascii=False))


def print_table(
    rows: Sequence[Mapping[str, Any]],
    *,
    empty: str,
    optional: Collection[str] = (),
    as_json: bool = False,
) -> None:
    """Print rows that have the same columns; print the sentence `empty` if there are none.

    An `optional` column is left out if no row has a value, so that lines fit a terminal.
    `as_json`: print all rows as one JSON value instead.
    """
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(empty)
        return
    from rich.table import Table  # noqa: PLC0415 - not for JSON

    shown = [n for n in rows[0] if n not in optional or any(row[n] is not None for row in rows)]
    table = Table(*shown, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in shown))
    _print(table)


def print_result(attributes: Mapping[str, Any], *, as_json: bool) -> None:
    """Print attributes as JSON or one per line."""
    print_json(attributes) if as_json else print_attributes(attributes)


def print_attributes(attributes: Mapping[str, Any]) -> None:
    """Print attributes, one per line."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in attributes.items():
        table.add_row(Text(name, style="bold"), _cell(value))
    _print(table)


def _print(table: Table) -> None:
    """Print a table without trailing blanks, which would be in the way in a ticket."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _cell(value: Any) -> Text:
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(_format_value(value)), overflow="fold")


def printable(text: str) -> str:
    """Return the text with control characters replaced: they could steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _format_value(value: Any) -> str:
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
    """The command is refused; the text is the reason. Exit status 1."""


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors of Keyturn into a sentence on stderr and exit status 1."""
    try:
        yield
    except (StoreUnavailableError, DirectoryUnavailableError) as error:
        is_default = error.message == (type(error).__doc__ or "").strip()
        before = "" if is_default else f"{error.message}. "
        directory = load_settings(os.environ).directory
        if isinstance(error, DirectoryUnavailableError) and directory != "redis":
            raise CommandRefusedError(
                f"{before}The directory (KEYTURN_DIRECTORY={directory}) does not serve this; "
                "`keyturn directory check` says why"
            ) from error
        raise CommandRefusedError(
            f"{before}Redis at {_server_name()} does not serve this ({_root_cause(error)}); "
            "start it (`keyturn up` starts one), or set KEYTURN_REDIS_URL"
        ) from error
    except (SettingsError, KeyturnError) as error:
        raise CommandRefusedError(str(error)) from error


def _server_name() -> str:
    """Return the URL of the server without its password."""
    parts = urlsplit(load_settings(os.environ).server_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _root_cause(error: BaseException) -> str:
    """Return the class name of the first error; its text may contain what was sent."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def bind_shell() -> None:
    """Name this command in logs, records and the audit trail: login, host and terminal."""
    try:
        login = pwd.getpwuid(os.getuid()).pw_name  # LOGNAME can be set by anyone
    except KeyError:
        login = str(os.getuid())
    terminal = os.ttyname(sys.stdin.fileno()) if sys.stdin.isatty() else "no terminal"
    source = f"{login}@{socket.gethostname()} {terminal}"
    bind_request_id(secrets.token_hex(8), source=source)
    bind_context(caller_id="shell")


class LaterHints:
    """A HintPublisher that is made when it is first used: Celery takes 0.2 s of CPU to load."""

    def __init__(self, settings: Settings, server: ServerStore) -> None:
        """Load nothing."""
        self._settings = settings
        if not settings.broker_url:  # the store's server is the broker
            self.waiting = server.hints
            self.is_connected = lambda: server.hints(Queue.URGENT) >= 0

    def __getattr__(self, name: str) -> Any:
        """Return what the publisher has of this name."""
        if "publisher" not in vars(self):
            self.publisher = HintPublisher(
                make_celery(self._settings), is_in_store=not self._settings.broker_url
            )
        return getattr(self.publisher, name)

    def close(self) -> None:
        """Publish the waiting hints."""
        if "publisher" in vars(self):
            self.publisher.close()


@contextmanager
def open_services() -> Iterator[WebServices]:
    """Build the services; publish their hints on leaving."""
    settings = load_settings(os.environ)
    check_server(settings)
    client = connect_store(settings)
    hints: Any = LaterHints(settings, ServerStore(client))
    services = build_services(settings, client=client, hints=hints)
    try:
        yield build_web_services(services)
    finally:
        hints.close()


def names_for(context: click.Context, parameter: str) -> list[str]:
    """Return the names that a parameter may have; none of what has none, or without Redis."""
    scope = context.params.get("scope") or "provider"
    find = NAMES.get(scope if parameter == "name" else parameter)
    with suppress(KeyturnError, SettingsError, CommandRefusedError):
        if find:
            with open_services() as services:
                return list(find(services))
    return []


def _organisations(services: WebServices) -> Iterator[str]:
    return (each.org_id for each in services.callers.list_organisations())


def _users(services: WebServices) -> list[str]:
    directory = services.directory
    if not isinstance(directory, RedisDirectory):
        return []
    listed = chain.from_iterable(map(directory.list_members, _organisations(services)))
    return sorted(islice(listed, MAX_NAMES))


# By the name of a parameter, or the scope of a pause.
NAMES: dict[str, Callable[[WebServices], Iterable[str]]] = {
    **dict.fromkeys(("org_id", "organisation"), _organisations),
    **dict.fromkeys(("user_id", "user_ids", "user"), _users),
    **dict.fromkeys(("batch_id", "plan_id"), lambda s: s.batches.every_id()),
    **dict.fromkeys(
        ("token_id", "caller"), lambda s: [e.token_id for e in s.callers.list_tokens()]
    ),
    "subscription_id": lambda s: [each.subscription_id for each in s.subscriptions.all()],
    "provider": lambda s: dict.fromkeys(chain.from_iterable(s.provider_names.values())),
    "channel": lambda s: s.provider_names,
    "queue": lambda _: DUE_QUEUES,
}
