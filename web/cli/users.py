"""`keyturn org add|list|password` and `keyturn user import|list|show`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from shared import validation
from shared.directories import Directory
from shared.directories.redis import RedisDirectory
from shared.directories.registry import build_directory
from shared.directories.user_import import LINE_BYTES
from shared.models import Channel, Organisation, Recipient, User
from shared.passwords.policy import policy_of
from shared.settings import PASSWORD_NEEDS, Settings, load_settings
from shared.settings.types import names, password_length
from shared.store.admin.audit import Act, AuditStore
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from shared.wiring import connect_store
from web.cli.support import (
    CommandRefusedError,
    by_option,
    change_options,
    json_option,
    open_services,
    optional_reason_option,
    print_json,
    print_result,
    print_table,
)
from web.passwords import conclude_without_code

NAME_CHARACTERS = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stores:
    """The settings and stores that these commands use."""

    settings: Settings
    callers: CallerStore
    directory: Directory
    audit: AuditStore


def open_stores() -> Stores:
    """Open the stores of the environment's settings."""
    settings = load_settings(os.environ)
    client = connect_store(settings)
    digests = Digests(client, settings.secret_keys)
    return Stores(
        settings,
        CallerStore(client, digests),
        build_directory(settings, client, digests),
        AuditStore(client, digests, settings.durability),
    )


def read_value(name: str, read: Callable[[str], T], text: str) -> T:
    """Return `read(text)`.

    Raises:
        CommandRefusedError: `read` raised ValueError.
    """
    try:
        return read(text)
    except ValueError as error:
        raise CommandRefusedError(f"{name} {error}") from error


@click.group()
def org() -> None:
    """Organisations."""


@org.command("add")
@click.argument("org_id", metavar="ID")
@click.option("--name", required=True, help="The name in messages.")
@click.option("--language", metavar="TAG", help="The default language of its users; '' for none.")
@click.option("--link-host", "link_hosts", multiple=True, metavar="HOST",
              help="A host that links may lead to; may be repeated; '' for none.")  # fmt: skip
@optional_reason_option
@by_option
@json_option
def add_organisation(
    *,
    org_id: str,
    name: str,
    language: str | None,
    link_hosts: tuple[str, ...],
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Add or update an organisation; options that are not given stay as they are."""
    stores = open_stores()
    callers = stores.callers
    org_id = read_value("ID", validation.identity, org_id)
    found = callers.find_organisation(org_id)
    known = found or Organisation(org_id, name)
    organisation = replace(
        known,
        name=read_value("--name", _organisation_name, name),
        language=known.language if language is None else _read_language(language),
        link_hosts=_read_hosts(link_hosts) if link_hosts else known.link_hosts,
    )
    action = "organisation.change" if found else "organisation.add"
    with stores.audit.acting(Act(by=by, action=action, target=org_id, reason=reason)):
        callers.save_organisation(organisation)
    result = _serialise_organisation(organisation)
    print_result(result, as_json=as_json)


@org.command("list")
@json_option
def list_organisations(*, as_json: bool) -> None:
    """List all organisations."""
    rows = [_serialise_organisation(each) for each in open_stores().callers.list_organisations()]
    print_table(
        rows, empty="There are no organisations; add one with `keyturn org add`.", as_json=as_json
    )


@org.command("password")
@click.argument("org_id", metavar="ID")
@click.option("--min-characters", metavar="N", help="Least length; '' for the installation's.")
@click.option("--needs", metavar="LIST",
              help="Of lower,upper,number,symbol, or none; '' for the installation's.")  # fmt: skip
@change_options
def set_password_policy(
    org_id: str,
    min_characters: str | None,
    needs: str | None,
    reason: str,
    by: str,
    *,
    as_json: bool,
) -> None:
    """Set what new passwords of an organisation need; options that are not given stay."""
    with open_services() as services:
        organisation = services.callers.find_organisation(org_id)
        if organisation is None:
            raise CommandRefusedError("there is no organisation with that id")
        if min_characters is not None:
            least = _read_setting("--min-characters", password_length, min_characters)
            organisation = replace(organisation, password_min_characters=least)
        if needs is not None:
            kinds = _read_setting("--needs", names(PASSWORD_NEEDS), needs)
            organisation = replace(organisation, password_needs=kinds)
        act = Act(by=by, action="organisation.password", target=org_id, reason=reason)
        with services.audit.acting(act):
            services.callers.save_organisation(organisation)
        policy = policy_of(services.settings, organisation)
    result = {"orgId": org_id, "minCharacters": policy.min_characters, "needs": list(policy.needs)}
    print_result(result, as_json=as_json)


@click.group()
def user() -> None:
    """Users: those of the built-in directory, or of the application's."""


@user.command("import")
@click.argument("file", type=click.File("rb"))
@optional_reason_option
@by_option
@click.option("--without-notices", is_flag=True,
              help="Do not tell users whose password it changes, nor subscribers.")  # fmt: skip
@json_option
def import_users(
    file: IO[bytes], reason: str, by: str, *, without_notices: bool, as_json: bool
) -> None:
    """Add or update users from JSON Lines (- for standard input), all or none."""
    lines = iter(lambda: file.readline(LINE_BYTES + 1), b"")
    stores, name = open_stores(), Path(str(getattr(file, "name", "-"))).name
    directory = _built_in(stores, "they need no import")
    act = Act(by=by, action="user.import", target=name, reason=reason)
    with stores.audit.acting(act) as ending:
        report = directory.import_users(lines)
        ending["target"] = f"{name}: {report.imported} imported, {report.updated} updated"
    if report.changed_passwords and not without_notices:
        with open_services() as services:
            for found in services.directory.find_users(report.changed_passwords):
                if found is not None:
                    conclude_without_code(services, found)
    if as_json:
        print_json({"imported": report.imported, "updated": report.updated})
    else:
        click.echo(f"{report.imported} imported, {report.updated} updated")


@user.command("list")
@click.option("--org", "org_id", metavar="ID", help="Those of one organisation.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_users(*, org_id: str | None, limit: int, as_json: bool) -> None:
    """List users of the built-in directory; addresses are masked."""
    stores = open_stores()
    directory = _built_in(stores, "ask it for them, or for one with `keyturn user show`")
    if org_id and not stores.callers.organisation_exists(org_id):
        raise CommandRefusedError("there is no organisation with that id")
    orgs = [org_id] if org_id else [each.org_id for each in stores.callers.list_organisations()]
    ids = sorted(islice(chain.from_iterable(map(directory.list_members, orgs)), limit + 1))
    found = [_serialise_user(each) for each in directory.find_users(ids[:limit]) if each]
    columns = ("userId", "orgId", "state", "kind", "email", "phone", "language")
    rows = [each if as_json else {name: each[name] for name in columns} for each in found]
    print_table(rows, empty="There are no users; `keyturn user import` adds some.", as_json=as_json)
    if len(ids) > limit and not as_json:
        click.echo("There are more: --limit, or --org.")


@user.command("show")
@click.argument("user_id", metavar="ID")
@json_option
def show_user(user_id: str, *, as_json: bool) -> None:
    """Show a user; addresses are masked."""
    found = open_stores().directory.find_user(user_id)
    if found is None:
        raise CommandRefusedError("there is no user with that id")
    result = _serialise_user(found)
    print_result(result, as_json=as_json)


def _built_in(stores: Stores, remedy: str) -> RedisDirectory:
    if isinstance(stores.directory, RedisDirectory):
        return stores.directory
    raise CommandRefusedError(
        f"the users stand in the application (KEYTURN_DIRECTORY={stores.settings.directory}); "
        f"{remedy}"
    )


def _organisation_name(text: str) -> str:
    if not 1 <= len(text.strip()) <= NAME_CHARACTERS or not text.isprintable():
        raise ValueError(f"must be one line of 1 to {NAME_CHARACTERS} characters")
    return text.strip()


def _read_setting(name: str, parse: Callable[[str], T], text: str) -> T | None:
    """Return the parsed text; None for an empty one, which means the installation's."""
    return read_value(name, parse, "" if text == "none" else text) if text else None


def _read_language(text: str) -> str | None:
    return read_value("--language", validation.language, text) if text else None


def _read_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    read = (read_value("--link-host", validation.link_host, host) for host in hosts if host)
    return tuple(dict.fromkeys(read))


def _serialise_organisation(organisation: Organisation) -> dict[str, Any]:
    return {
        "orgId": organisation.org_id,
        "name": organisation.name,
        "language": organisation.language,
        "linkHosts": list(organisation.link_hosts),
    }


def _serialise_user(found: User) -> dict[str, Any]:
    return {
        "userId": found.user_id,
        "orgId": found.org_id,
        "state": found.state.value,
        "kind": found.kind.value,
        "userName": _masked_name(found.user_name),
        "displayName": _masked_name(found.display_name),
        "language": found.language,
        "email": found.email and found.email.masked,
        "emailVerified": bool(found.email and found.email.is_verified),
        "phone": found.phone and found.phone.masked,
        "phoneVerified": bool(found.phone and found.phone.is_verified),
        "changeRequired": found.must_change_password,
    }


def _masked_name(name: str) -> str:
    """Return the name, masked if it is an address."""
    if "@" in name:
        return Recipient(Channel.EMAIL, name).masked
    return Recipient(Channel.SMS, name).masked if name.startswith("+") else name
