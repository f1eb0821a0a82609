"""`keyturn directory check`."""

from __future__ import annotations

import click

from shared.directories.gate import Finding, OutsideDirectory
from web.cli.support import CommandRefusedError, json_option, open_services, print_table


@click.group()
def directory() -> None:
    """The directory of users that KEYTURN_DIRECTORY names."""


@directory.command("check")
@click.option("--user", "user_id", default="", metavar="ID", help="The sample user.")
@json_option
def check_directory(user_id: str, *, as_json: bool) -> None:
    """Check connection, columns, indexes, a user, writing (rolled back)."""
    with open_services() as services:
        found = [Finding("ok", "the built-in directory; its users stand in Redis")]
        if isinstance(services.directory, OutsideDirectory):
            found = list(services.directory.inspect(user_id, writes=True))
        org_id = services.settings.directory_org
        if org_id and not services.callers.organisation_exists(org_id):
            text = f"the organisation {org_id} does not exist; `keyturn org add {org_id}` adds it"
            found.append(Finding("warning", text))
    print_table([{"level": each.level, "found": each.text} for each in found],
                empty="", as_json=as_json)  # fmt: skip
    if bad := [each for each in found if each.level in ("error", "away")]:
        raise CommandRefusedError(f"the directory cannot be used: {bad[0].text}")
