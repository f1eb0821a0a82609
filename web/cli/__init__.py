"""The command `keyturn`; exit status 0: done, 1: refused with the reason, 2: wrong use."""

from __future__ import annotations

import sys

import click

from shared.log import set_up_logging
from web import up
from web.cli import (
    admin,
    batches,
    directory,
    leaving,
    providers,
    resets,
    suppressions,
    tokens,
    users,
    webhooks,
)
from web.cli.organisations import branding, messages, senders
from web.cli.support import bind_shell, report_errors

# A further command is one line here.
COMMANDS: tuple[click.Command, ...] = (
    up.up,
    users.org,
    users.user,
    directory.directory,
    tokens.token,
    resets.reset,
    resets.explain,
    admin.status,
    suppressions.suppression,
    webhooks.webhook,
    providers.provider,
    messages.message,
    admin.pause,
    admin.resume,
    admin.limit,
    admin.audit,
    batches.batch,
    leaving.forget,
)


class KeyturnGroup(click.Group):
    """The group of all commands; an error in any of them is printed as one sentence."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        with report_errors():
            bind_shell()
            return super().invoke(ctx)


@click.group(cls=KeyturnGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keyturn", message="%(package)s %(version)s")
def keyturn() -> None:
    """Password resets that are never lost and can always be explained."""


for command in COMMANDS:
    keyturn.add_command(command)
for command in (
    branding.branding,
    branding.set_logo,
    branding.texts,
    senders.sender,
):
    users.org.add_command(command)


def main() -> None:
    """Run the command line."""
    set_up_logging("warning", service="keyturn", stream=sys.stderr)
    keyturn(prog_name="keyturn")


if __name__ == "__main__":
    main()
