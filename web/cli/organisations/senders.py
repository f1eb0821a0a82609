"""`keyturn org sender show|set|remove|check`."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from shared.organisations.domain_check import DomainCheck
from shared.organisations.sender import IN_USE
from web.cli.admin import audit_reason
from web.cli.organisations.branding import MAX_FILE_BYTES, id_argument, open_profile
from web.cli.support import (
    CommandRefusedError,
    change_options,
    json_option,
    print_result,
)
from web.organisations import senders
from web.services import WebServices


def read_nameserver(text: str) -> DomainCheck:
    """Return who asks a name server; of an empty text, the system's."""
    address, _, port = text.partition("@")
    try:
        if 0 < int(port or 53) < 2**16:
            return DomainCheck(address, int(port or 53))
    except ValueError:
        pass
    raise click.UsageError("--nameserver must look like 192.0.2.1 or 192.0.2.1@5353")


@click.group()
def sender() -> None:
    """How an organisation sends: its From, its own accounts, their order."""


@sender.command("show")
@id_argument
@json_option
def show_sender(org_id: str, *, as_json: bool) -> None:
    """Show it, without secrets."""
    with open_profile(org_id) as (services, _):
        _print(services, org_id, as_json=as_json)


@sender.command("set")
@id_argument
@click.argument("file", type=click.File("rb"))
@change_options
def set_sender(org_id: str, file: IO[bytes], reason: str, by: str, *, as_json: bool) -> None:
    """Replace it by a JSON FILE as in the API (- for input); secrets left out stay."""
    try:
        body = json.loads(file.read(MAX_FILE_BYTES))
    except ValueError:  # its text may repeat a secret
        body = None
    if not isinstance(body, dict):
        raise CommandRefusedError('the file must be a JSON object, such as {"email": {…}}')
    with open_profile(org_id) as (services, _):
        former = services.senders.find(org_id)
        senders.change_sender(services, org_id, former, body, audit_reason(by, reason))
        _print(services, org_id, as_json=as_json)


@sender.command("remove")
@id_argument
@change_options
def remove_sender(org_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Send as the installation does; the secrets are forgotten."""
    with open_profile(org_id) as (services, _):
        former = services.senders.find(org_id)
        senders.remove_sender(services, org_id, former, audit_reason(by, reason))
    print_result({"orgId": org_id, "removed": True}, as_json=as_json)


@sender.command("check")
@id_argument
@click.option("--trust", is_flag=True, help="Take the From as verified, without asking DNS.")
@click.option("--nameserver", default="", metavar="ADDRESS[@PORT]", help="Ask this one.")
@change_options
def check_sender(
    org_id: str, nameserver: str, reason: str, by: str, *, trust: bool, as_json: bool
) -> None:
    """Ask DNS for owner, SPF, DKIM and DMARC; a From is used once it is verified."""
    dns = read_nameserver(nameserver)
    with open_profile(org_id) as (services, _):
        found = senders.check_sender(
            services,
            org_id,
            services.senders.find(org_id),
            audit_reason(by, reason),
            dns=None if trust else dns,
        )
        token = senders.owner_token(services, org_id, found)
    result = {"from": found.address, "state": found.state} | dict(found.findings)
    print_result(result, as_json=as_json)
    if found.state not in IN_USE:
        domain = found.address.rpartition("@")[2]
        raise CommandRefusedError(
            f"the From is not used yet; the TXT record _keyturn.{domain} must be {token}"
        )


def _print(services: WebServices, org_id: str, *, as_json: bool) -> None:
    shown = senders.write_sender(services, org_id, services.senders.find(org_id))
    if not as_json:
        shown = dict(_flatten("", shown))
    print_result(shown, as_json=as_json)


def _flatten(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return a nested value as lines: `email.sendgrid.webhookPublicKey`."""
    if not isinstance(value, dict):
        return [(path, value)]
    return [each for name, v in value.items() for each in _flatten(f"{path}.{name}".lstrip("."), v)]
