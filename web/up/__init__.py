"""`keyturn up` on the command line."""

from __future__ import annotations

import sys

import click


@click.command()
def up() -> None:
    """Run all processes on this machine until Ctrl-C."""
    from web.up.supervisor import main  # noqa: PLC0415  # the other commands start faster without it

    sys.exit(main())
