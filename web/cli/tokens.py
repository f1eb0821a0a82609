"""`keyturn token add|list|revoke`: tokens of callers; `keyturn demo`."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import Any

import click

from shared import validation
from shared.settings import Settings, load_settings
from shared.store import keys
from shared.store.admin.audit import Act
from shared.store.callers import Grants, Token
from web.auth import unknown_roles
from web.cli.support import (
    CommandRefusedError,
    by_option,
    json_option,
    optional_reason_option,
    print_json,
    print_table,
)
from web.cli.users import open_stores, read_value
from web.up.demo import LOGIN_FILE, ORG_ID, USER, demo_token, describe_demo, make_link

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MAX_SECONDS = 36_500 * UNIT_SECONDS["d"]


@click.group()
def token() -> None:
    """Personal access tokens of callers."""


@token.command("add")
@click.option("--org", "org_id", required=True, metavar="ID", help="The caller's organisation.")
@click.option("--role", required=True, help="Its role there.")
@click.option("--instance", is_flag=True, help="The role applies in every organisation.")
@click.option("--member", "members", multiple=True, metavar="ORG=ROLE",
              help="A role in another organisation; may be repeated.")  # fmt: skip
@click.option("--user", "user_id", metavar="ID", help="The user that the caller is.")
@click.option("--expires", metavar="90d", default="90d", show_default=True,
              help="The token's lifetime, in s, m, h or d; or never.")  # fmt: skip
@optional_reason_option
@by_option
@json_option
def add_token(
    *,
    org_id: str,
    role: str,
    instance: bool,
    members: tuple[str, ...],
    user_id: str | None,
    expires: str,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Create a token and print it; it is not shown again."""
    stores = open_stores()
    grants = _read_grants(org_id, role, members, is_instance_wide=instance)
    _refuse_unknown_roles(grants, stores.settings)
    user_id = None if user_id is None else read_value("--user", validation.identity, user_id)
    seconds = None if expires == "never" else read_duration(expires)
    rights = ", ".join(_format_grants(grants) + ([f"as user {user_id}"] if user_id else []))
    act = Act(by=by, action="token.add", target=f"{org_id}: {rights}", reason=reason)
    with stores.audit.acting(act) as ending:
        secret, record = stores.callers.create_token(
            org_id, grants, user_id=user_id, lifetime_seconds=seconds
        )
        ending["target"] = f"{record.token_id} of {act.target}"
    if as_json:
        print_json({"token": secret, "tokenId": record.token_id})
    else:
        click.echo(secret)
        ends = f"until {record.expires_at:%Y-%m-%d}" if record.expires_at else "until it is revoked"
        click.echo(
            f"This is token {record.token_id}, valid {ends}; it is not shown again.", err=True
        )


@click.command()
@click.option("--org", "org_id", default=ORG_ID, show_default=True, metavar="ID",
              help="The organisation of the token behind it.")  # fmt: skip
@optional_reason_option
@by_option
@json_option
def console(org_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Print a link that signs in to the console once, as IAM_OWNER for twelve hours."""
    stores = open_stores()
    act = Act(by=by, action="token.add", target=org_id, reason=reason)
    link = make_link(stores.callers, stores.audit, stores.settings, act)
    if as_json:
        print_json({"link": link})
    else:
        click.echo(link)


@token.command("list")
@json_option
def list_tokens(*, as_json: bool) -> None:
    """List all tokens; the secrets are not shown."""
    callers = open_stores().callers
    now, tokens = callers.now(), callers.list_tokens()
    if as_json:
        print_json([_serialise(each) | {"state": each.state(now)} for each in tokens])
    else:
        rows = [_row(each) | {"state": each.state(now)} for each in tokens]
        print_table(rows, empty="There are no tokens; create one with `keyturn token add`.")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@optional_reason_option
@by_option
@json_option
def revoke_token(token_id: str, reason: str, by: str, *, as_json: bool) -> None:
    """Revoke a token at once."""
    if token_id.startswith(keys.TOKEN_PREFIX):
        raise CommandRefusedError("that is a token; its id is what `keyturn token list` shows")
    stores = open_stores()
    if token_id not in {each.token_id for each in stores.callers.list_tokens()}:
        raise CommandRefusedError("there is no token with that id; `keyturn token list` shows them")
    with stores.audit.acting(Act(by=by, action="token.revoke", target=token_id, reason=reason)):
        stores.callers.revoke_token(token_id)
    if as_json:
        print_json({"tokenId": token_id, "revoked": True})
    else:
        click.echo(f"{token_id} is revoked")


def read_duration(text: str, *, option: str = "--expires") -> int:
    """Return the seconds of `90d`, `12h`, `30m` or `45s`.

    Raises:
        CommandRefusedError: it is none of these, or longer than a hundred years.
    """
    match = re.fullmatch(r"([0-9]{1,12})([smhd])", text)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_SECONDS:
        raise CommandRefusedError(
            f"{option} must look like 90d, 12h, 30m or 45s, at most 36500d"
            + (", or be never" if option == "--expires" else "")
        )
    return seconds


def _read_grants(
    org_id: str, role: str, members: tuple[str, ...], *, is_instance_wide: bool
) -> Grants:
    org_roles: defaultdict[str, set[str]] = defaultdict(set)
    if not is_instance_wide:
        org_roles[org_id].add(role)
    for member in members:
        member_org, equals, member_role = member.rpartition("=")
        if not equals:
            raise CommandRefusedError("--member must look like ORG=ROLE")
        org_roles[member_org].add(member_role)
    return Grants(
        frozenset({role}) if is_instance_wide else frozenset(),
        {each: frozenset(roles) for each, roles in org_roles.items()},
    )


def _refuse_unknown_roles(grants: Grants, settings: Settings) -> None:
    unknown = unknown_roles(grants.roles, settings)
    if unknown:
        raise CommandRefusedError(
            f"unknown role {', '.join(unknown)}; ZITADEL's names are known, such as ORG_OWNER or "
            "IAM_USER_MANAGER, and those in KEYTURN_ROLE_PERMISSIONS"
        )


def _serialise(each: Token) -> dict[str, Any]:
    return {
        "tokenId": each.token_id,
        "orgId": each.org_id,
        "userId": each.user_id,
        "instanceRoles": sorted(each.grants.instance_roles),
        "orgRoles": {org_id: sorted(roles) for org_id, roles in each.grants.org_roles.items()},
        "createdAt": each.created_at,
        "expiresAt": each.expires_at,
        "revokedAt": each.revoked_at,
        "lastUsedAt": each.last_used_at,
    }


def _format_grants(grants: Grants) -> list[str]:
    everywhere = [f"{role} everywhere" for role in sorted(grants.instance_roles)]
    somewhere = [
        f"{role} in {org_id}"
        for org_id, roles in sorted(grants.org_roles.items())
        for role in sorted(roles)
    ]
    return everywhere + somewhere


def _row(each: Token) -> dict[str, Any]:
    return {
        "token": each.token_id,
        "organisation": each.org_id,
        "user": each.user_id,
        "roles": _format_grants(each.grants),
        "created": each.created_at,
        "ends": each.expires_at,
        "last used": each.last_used_at,
    }


@click.command()
def demo() -> None:
    """Print the demo's addresses, token, users and logins again."""
    settings = load_settings(os.environ)
    try:
        token, lines = demo_token(settings.data_dir), describe_demo(settings)
    except FileNotFoundError as error:
        raise CommandRefusedError(
            f"there is no demo in {settings.data_dir}; `keyturn up` makes it, or set "
            "KEYTURN_DATA_DIR"
        ) from error
    user = f"{USER['userId']} ({USER['email']}, {USER['phone']}) of {USER['orgId']}"
    lines += [f"  the user     {user}; others: keyturn provider recipients"]
    lines += [f"  export KEYTURN_TOKEN={token}"]
    login = settings.data_dir / LOGIN_FILE
    if not settings.flower_basic_auth and login.exists():
        lines.append(f"  Flower's login is {login.read_text().strip()}")
    click.echo("\n".join(lines))
