"""`keyturn …`: the command line. Exit status 0: done, 1: refused with the reason, 2: wrong use."""

from __future__ import annotations

import click

from web import (
    cli_batches,
    cli_explaining,
    cli_holds,
    cli_levers,
    cli_people,
    cli_providers,
    cli_resets,
    cli_status,
    cli_suppressions,
    cli_tokens,
    cli_up,
    cli_webhooks,
)
from web.cli_failures import tell_failures

# A further command is one line here.
COMMANDS: tuple[click.Command, ...] = (
    cli_up.up,
    cli_people.org,
    cli_people.user,
    cli_tokens.token,
    cli_resets.reset,
    cli_explaining.explain,
    cli_status.status,
    cli_suppressions.suppression,
    cli_webhooks.webhook,
    cli_providers.provider,
    cli_levers.pause,
    cli_levers.resume,
    cli_levers.limit,
    cli_levers.audit,
    cli_batches.batch,
)


class KeyturnGroup(click.Group):
    """The group of all commands: what goes wrong in any of them becomes one sentence."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        with tell_failures():
            return super().invoke(ctx)


@click.group(cls=KeyturnGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keyturn", message="%(package)s %(version)s")
def keyturn() -> None:
    """Password resets that are never lost and can always be explained."""


for command in COMMANDS:
    keyturn.add_command(command)
for command in cli_holds.COMMANDS:
    cli_resets.reset.add_command(command)


def main() -> None:
    """The console entry."""
    keyturn(prog_name="keyturn")


if __name__ == "__main__":
    main()
