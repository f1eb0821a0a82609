"""The command `keyturn`; exit status 0: done, 1: refused with the reason, 2: wrong use.

A command's module is imported when the command runs: help and completion cost a tenth of it.
"""

from __future__ import annotations

import gc
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

# A further command is one line here: its name in its module, and what `--help` says of it.
COMMANDS = {
    "audit": ("admin", "List acts by hand and by permission, newest first; verify or export all."),
    "batch": ("batches", "Batches: many resets at once."),
    "console": (
        "tokens",
        "Print a link that signs in to the console once, as IAM_OWNER for twelve hours.",
    ),
    "demo": ("tokens", "Print the demo's addresses, token, users and logins again."),
    "directory": ("directory", "The directory of users that KEYTURN_DIRECTORY names."),
    "doctor": ("doctor", "Check Redis, broker, clocks, keys, sender, disk; say what mends them."),
    "explain": ("resets", "Explain what happened to a reset, and what to do."),
    "forget": ("leaving", "Erase a user or an address everywhere; print a signed receipt as JSON."),
    "limit": ("admin", "Rate limits of resets."),
    "message": ("organisations.messages", "What people get from an organisation."),
    "org": ("users", "Organisations."),
    "pause": ("admin", "Pause a queue, channel, provider or organisation; new resets wait."),
    "provider": ("providers", "Providers of e-mail and SMS."),
    "reset": ("resets", "Send, list, hold, release, void and resend resets."),
    "resume": ("admin", "Resume a queue, channel, provider or organisation."),
    "sms": ("sms", "Prefixes of phone numbers that are watched, slowed, stopped or allowed."),
    "status": ("admin", "Show alerts, queues, providers and workers."),
    "suppression": ("suppressions", "Recipients that receive no messages."),
    "token": ("tokens", "Personal access tokens of callers."),
    "up": ("up", "Run all processes on this machine until Ctrl-C."),
    "user": ("users", "Users: those of the built-in directory, or of the application's."),
    "webhook": ("webhooks", "Webhook subscriptions to the events of resets."),
}
# Modules with further commands of a group, and those that do not add themselves.
FURTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "org": {
        "organisations.branding": ("branding", "set_logo", "texts"),
        "organisations.senders": ("sender",),
        "leaving": (),
    },
    "user": {"leaving": ()},
}


class KeyturnGroup(click.Group):
    """The group of all commands; an error in any of them is printed as one sentence."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        found = getattr(_module(COMMANDS[cmd_name][0]), cmd_name)
        for module, names in FURTHER.get(cmd_name, {}).items():
            for name in names:
                found.add_command(getattr(_module(module), name))
            _module(module)
        command: click.Command = found
        _finish(command, cmd_name, _read_examples())
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        with _ready():
            return super().invoke(ctx)


def _finish(command: click.Command, path: str, examples: Mapping[str, str]) -> None:
    """Add examples to the help of a command and those below it, and names to completion."""
    command.epilog = f"\b\nExample:\n  {examples[path]}" if path in examples else None
    for parameter in command.params:
        if not isinstance(parameter.type, click.Choice | click.File):
            parameter._custom_shell_complete = _complete  # noqa: SLF001 - else in 60 places
    for name, each in command.commands.items() if isinstance(command, click.Group) else ():
        _finish(each, f"{path} {name}", examples)


def _complete(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    from web.cli.support import names_for  # noqa: PLC0415 - asks Redis

    return [each for each in names_for(context, parameter.name or "") if each.startswith(start)]


@cache
def _read_examples() -> dict[str, str]:
    return tomllib.loads(Path(__file__).with_name("examples.toml").read_text(encoding="utf-8"))


def _module(name: str) -> ModuleType:
    return import_module("web.up" if name == "up" else f"web.cli.{name}")


@contextmanager
def _ready() -> Iterator[None]:
    """Set up what every command needs, and print errors as a sentence."""
    from web.cli.support import bind_shell, report_errors  # noqa: PLC0415 - not for `--help`

    with report_errors():
        bind_shell()
        yield


# Allocations between garbage collections: what a command imports is none.
GARBAGE_THRESHOLD = 50_000
EXAMPLE = "\b\nExample:\n  keyturn reset send ada; keyturn status"


@click.group(
    cls=KeyturnGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLE
)
@click.version_option(package_name="keyturn", message="%(package)s %(version)s")
def keyturn() -> None:
    """Password resets that are never lost and can always be explained."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    if sys.argv[1:] not in (["--version"], ["--help"], ["-h"], []):
        from shared.log import set_up_logging  # noqa: PLC0415 - imports twice what click does

        set_up_logging("warning", service="keyturn", stream=sys.stderr)
    keyturn(prog_name="keyturn")


if __name__ == "__main__":
    main()
