"""`keyturn up` on the command line."""

from __future__ import annotations

import os
import sys

import click

from shared.settings import load_settings


@click.command()
@click.option("--only-keys", is_flag=True, help="Write secret keys if there are none, and end.")
def up(*, only_keys: bool) -> None:
    """Run all processes on this machine until Ctrl-C."""
    if only_keys:  # for containers, each of which runs one of the processes
        from web.up.demo import write_secret_keys  # noqa: PLC0415

        write_secret_keys(load_settings(os.environ))
        return
    from web.up.supervisor import main  # noqa: PLC0415  # the other commands start faster without it

    sys.exit(main())
