"""`keyturn reset send|list|hold|release|void|resend` and `keyturn explain`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from shared.errors import UserUnknownError
from shared.models import Channel, Status
from shared.policies import check_may_reset
from shared.recording import ResetRequest, record_refusals, record_reset
from shared.store.admin.audit import Act
from shared.validation import format_timestamp
from web.admin import actions
from web.admin.actions import resend_by_hand
from web.cli.admin import audit_reason
from web.cli.batches import read_time
from web.cli.support import (
    CommandRefusedError,
    by_option,
    change_options,
    json_option,
    open_services,
    print_attributes,
    print_json,
    print_result,
    print_table,
)
from web.explain.model import Explanation
from web.explain.query import PageRequest, explain_reset, explain_user, find_page
from web.schemas import write_explanation, write_reset
from web.services import WebServices


@click.group()
def reset() -> None:
    """Send, list, hold, release, void and resend resets."""


@reset.command("send")
@click.argument("user_id", metavar="USER")
@click.option("--type", "channel", type=click.Choice([each.value for each in Channel]),
              default=Channel.EMAIL.value, show_default=True)  # fmt: skip
@by_option
@json_option
def send_reset(user_id: str, channel: str, by: str, *, as_json: bool) -> None:
    """Request a reset; the usual limits apply."""
    act = Act(by=by, action="reset.send", target=user_id)
    with (
        open_services() as services,
        record_refusals(services, user_id, Channel(channel)),
        services.audit.acting(act),
    ):
        user = check_may_reset(services.directory.find_user(user_id), None)
        request = ResetRequest(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=Channel(channel),
            reset_id=services.digests.new_reset_id(user_id),
        )
        recorded = record_reset(services, request)
    result = {"resetId": recorded.reset_id, "expiresAt": format_timestamp(recorded.deadline_at)}
    print_result(result, as_json=as_json)


@reset.command("list")
@click.option("--user", "user_id", metavar="ID", help="Those of a user.")
@click.option("--org", "org_id", metavar="ID", help="Those of an organisation's users.")
@click.option("--status", type=click.Choice([each.value for each in Status]))
@click.option("--since", metavar="TIME", help="2026-11-23T12:00:00Z, or 90m, 6h, 2d ago.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def list_resets(
    *,
    user_id: str | None,
    org_id: str | None,
    status: str | None,
    since: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List resets, newest first; addresses are masked."""
    with open_services() as services:
        wanted = PageRequest(
            user_id=user_id,
            status=Status(status) if status else None,
            since=read_time("since", since, services.dues.now()),
            limit=limit,
        )
        page = find_page(services, wanted, org_id)
    listed = sorted(page.resets, key=lambda each: each[0].created_at, reverse=True)
    rows = [
        {
            "resetId": reset.reset_id,
            "userId": reset.user_id,
            "orgId": reset.org_id,
            "status": reset.status.value,
            "reason": reset.reason,
            "recipient": recipient,
            "createdAt": reset.created_at,
        }
        for reset, recipient in listed
    ]
    print_table(rows, empty="There are no such resets.", optional=["reason"], as_json=as_json)
    if page.token and not as_json:
        click.echo("There are more: --limit, --since, --status or --user.")


def _add_hold(verb: str, act: Callable[..., None], text: str, *, is_held: bool) -> None:
    @reset.command(verb, help=text)
    @click.argument("reset_id", metavar="ID")
    @change_options
    def change(reset_id: str, reason: str, by: str, *, as_json: bool) -> None:
        with open_services() as services:
            act(services, reset_id, audit_reason(by, reason))
        result = {"resetId": reset_id, "held": is_held, "by": by, "reason": reason}
        print_result(result, as_json=as_json)


HOLD = "Keep a reset from being sent until it is released or its code expires."
_add_hold("hold", actions.hold, HOLD, is_held=True)
_add_hold("release", actions.release, "Send a held reset now.", is_held=False)


@reset.command("void")
@click.argument("reset_id", metavar="[ID]", required=False)
@click.option("--user", "user_id", metavar="ID", help="Every code of a user.")
@change_options
def void_reset(
    reset_id: str | None, user_id: str | None, reason: str, by: str, *, as_json: bool
) -> None:
    """End a code before its time; a message still waiting is not sent."""
    if (reset_id is None) == (user_id is None):
        raise click.UsageError("give a reset's ID or --user")
    with open_services() as services:
        known = services.code_store.list_known(user_id) if user_id is not None else []
        voided = [reset_id] if reset_id else [each.reset_id for each in known if each.is_live]
        if not voided:
            raise CommandRefusedError("no code of this user works")
        for each in voided:
            actions.void(services, each, audit_reason(by, reason))
    print_result({"voided": voided, "by": by, "reason": reason}, as_json=as_json)


@reset.command("resend")
@click.argument("reset_id", metavar="ID")
@click.option("--channel", type=click.Choice([each.value for each in Channel]),
              help="The default is the channel of that reset.")  # fmt: skip
@change_options
def resend_reset(
    reset_id: str, channel: str | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Request a new reset for the user of this one; the cool-down does not apply."""
    with open_services() as services:
        recorded = resend_by_hand(
            services, reset_id, Channel(channel) if channel else None, audit_reason(by, reason)
        )
    result = {"resetId": recorded.reset_id, "expiresAt": format_timestamp(recorded.deadline_at)}
    result |= {"by": by, "reason": reason}
    print_result(result, as_json=as_json)


@click.command()
@click.option("--reset", "reset_id", metavar="ID", help="One reset.")
@click.option("--user", "user_id", metavar="ID", help="The newest reset or refusal of a user.")
@click.option("--address", metavar="A", help="All users with this address.")
@json_option
def explain(
    reset_id: str | None, user_id: str | None, address: str | None, *, as_json: bool
) -> None:
    """Explain what happened to a reset, and what to do."""
    if sum(given is not None for given in (reset_id, user_id, address)) != 1:
        raise click.UsageError("give one of --reset, --user and --address")
    with open_services() as services:
        if reset_id is not None:
            explanations = [_explain_reset(services, reset_id)]
        elif user_id is not None:
            explanations = [_explain_user(services, user_id)]
        else:
            explanations = _explain_address(services, address or "")
    if as_json:
        print_json(_as_json(explanations))
        return
    for explanation in explanations:
        _print_explanation(explanation)


def _explain_reset(services: WebServices, reset_id: str) -> Explanation:
    reset = services.resets.find(reset_id)
    if reset is None:
        raise CommandRefusedError(actions.NO_RESET)
    return explain_reset(services, reset)


def _explain_user(services: WebServices, user_id: str) -> Explanation:
    if services.directory.find_user(user_id) is None:
        raise UserUnknownError(f"there is no user {user_id!r} in the directory")
    return explain_user(services, user_id)


def _explain_address(services: WebServices, address: str) -> list[Explanation]:
    users = services.directory.find_users_by_address(address)
    if not users:
        raise CommandRefusedError("no user in the directory has this address")
    return [explain_user(services, user.user_id) for user in users]


def _as_json(explanations: list[Explanation]) -> dict[str, Any]:
    """Serialise the first user's explanation on top, and each user's in `users`."""
    return {
        **write_explanation(explanations[0]),
        "resets": [
            write_reset(reset, recipient=recipient)
            for explanation in explanations
            for reset, recipient in explanation.resets
        ],
        "users": [{"userId": each.user_id, **write_explanation(each)} for each in explanations],
    }


def _print_explanation(explanation: Explanation) -> None:
    result: dict[str, Any] = {
        "verdict": explanation.diagnosis.text,
        "next": explanation.diagnosis.next_step,
        "user": explanation.user_id,
        "caller": explanation.caller,
    }
    if explanation.resets:
        reset, recipient = explanation.resets[0]
        result |= {"reset": reset.reset_id, "recipient": recipient}
    print_attributes(result)
    click.echo()
    rows = [{"at": step.at, "step": step.step, "what": step.text} for step in explanation.timeline]
    print_table(rows, empty="There are no records of this user.")
    older = [reset.reset_id for reset, _ in explanation.resets[1:]]
    if older:
        click.echo(f"\nEarlier resets: {', '.join(older)} (`keyturn explain --reset ID`).")
    click.echo()
