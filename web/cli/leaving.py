"""`keyturn forget`, `user remove`, `user export`, `org remove` and `org retention`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any, TypeAlias

import click
import orjson

from shared.policies import record_lifetime_seconds, refusal_lifetime_seconds
from shared.settings import types
from shared.store.admin.audit import Act
from web.cli.admin import audit_reason
from web.cli.support import (
    CommandRefusedError,
    by_option,
    change_options,
    json_option,
    open_services,
    optional_reason_option,
    print_json,
    print_result,
    reason_option,
)
from web.cli.users import org, read_value, user
from web.leaving import erasure
from web.leaving.erasure import ErasureRequest
from web.leaving.export import export_user

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

WAIT_SECONDS = 4.0  # for the server's files
MIN_LIFETIME_SECONDS = 86_400  # an Idempotency-Key finds its reset for a day


def erasure_options(reason: Decorator = reason_option) -> Decorator:
    """Return a decorator with the options of every command that erases."""
    audit = click.option("--with-audit", is_flag=True, help="Take the person out of the trail.")
    more = click.option("--with-suppressions", is_flag=True, help="Erase suppressions, too.")
    return lambda command: more(audit(reason(by_option(command))))


def _request(reason: str, by: str, *, with_suppressions: bool, with_audit: bool) -> ErasureRequest:
    why = audit_reason(by, reason)
    return ErasureRequest(why, with_suppressions, with_audit, wait_seconds=WAIT_SECONDS)


@click.group("forget", invoke_without_command=True)
@click.option("--user", "user_id", metavar="ID", help="Erase a user.")
@click.option("--address", metavar="ADDRESS", help="Erase an e-mail address or a phone number.")
@erasure_options(
    click.option("--reason", default="", help="Why; recorded in the audit trail. Required.")
)
@click.pass_context
def forget(
    context: click.Context, /, user_id: str | None, address: str | None, **options: Any
) -> None:
    """Erase a user or an address everywhere; print a signed receipt as JSON."""
    if context.invoked_subcommand:
        return
    if (user_id is None) == (address is None):
        raise click.UsageError("give one of --user and --address")
    request = _request(**options)
    with open_services() as services:
        if user_id is not None:
            print_json(erasure.forget_user(services, user_id, request))
        else:
            print_json(erasure.forget_address(services, address or "", request))


@forget.command("verify")
@click.argument("file", type=click.File("rb"))
@json_option
def verify_receipt(file: IO[bytes], *, as_json: bool) -> None:
    """Check the signature of a receipt (- for standard input)."""
    with open_services() as services:
        receipt = erasure.verify_receipt(services, file.read())
    print_result({"isGenuine": True, "receiptId": receipt["receiptId"]}, as_json=as_json)


@user.command("remove")
@click.argument("user_id", metavar="ID")
@erasure_options()
def remove_user(user_id: str, **options: Any) -> None:
    """Erase a user, as `keyturn forget --user` does; print a signed receipt as JSON."""
    request = _request(**options)
    with open_services() as services:
        print_json(erasure.forget_user(services, user_id, request))


@user.command("export")
@click.argument("user_id", metavar="ID")
@optional_reason_option
@by_option
def export(user_id: str, reason: str, by: str) -> None:
    """Print all that is known of a user as JSON, addresses in full."""
    act = Act(by=by, action="user.export", target=user_id, reason=reason)
    with open_services() as services, services.audit.acting(act):
        click.echo(orjson.dumps(export_user(services, user_id), option=orjson.OPT_INDENT_2))


@org.command("remove")
@click.argument("org_id", metavar="ID")
@click.option("--with-users", is_flag=True, help="Erase its users, too.")
@erasure_options()
def remove_organisation(org_id: str, *, with_users: bool, **options: Any) -> None:
    """Remove an organisation with tokens and webhooks; print a signed receipt as JSON."""
    request = _request(**options)
    with open_services() as services:
        print_json(erasure.remove_organisation(services, org_id, request, with_users=with_users))


@org.command("retention")
@click.argument("org_id", metavar="ID")
@click.option("--records", metavar="SECONDS", help="Of finished resets; '' for the installation's.")
@click.option("--refusals", metavar="SECONDS", help="Of refusals; '' for the installation's.")
@change_options
def set_retention(
    org_id: str, records: str | None, refusals: str | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Set how long what is recorded of an organisation's users is kept; at most as set for all."""
    with open_services() as services:
        found = services.callers.find_organisation(org_id)
        if found is None:
            raise CommandRefusedError("there is no organisation with that id")
        most, changed = services.settings.record_lifetime_seconds, found
        if records is not None:
            seconds = _read_seconds("--records", records, MIN_LIFETIME_SECONDS, most)
            changed = replace(changed, record_lifetime_seconds=seconds)
        if refusals is not None:
            most = services.settings.refusal_lifetime_seconds or most
            seconds = _read_seconds("--refusals", refusals, 0, most)
            changed = replace(changed, refusal_lifetime_seconds=seconds)
        act = Act(by=by, action="organisation.retention", target=org_id, reason=reason)
        with services.audit.acting(act):
            services.callers.save_organisation(changed)
        result = {
            "orgId": org_id,
            "recordsSeconds": record_lifetime_seconds(services.settings, changed),
            "refusalsSeconds": refusal_lifetime_seconds(services.settings, changed),
        }
    print_result(result, as_json=as_json)


def _read_seconds(name: str, text: str, least: float, most: float) -> float | None:
    if not text:
        return None
    seconds = float(read_value(name, types.positive_number, text))
    if not least <= seconds <= most:
        raise CommandRefusedError(f"{name} must be from {least:g} to {most:g} seconds")
    return seconds
