"""`keyturn message preview|send-test`: an organisation's messages, before people get them."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import click

from shared.models import Channel, Outcome
from shared.organisations.profile import Profile
from web.cli.admin import audit_reason
from web.cli.organisations.branding import open_profile
from web.cli.support import (
    CommandRefusedError,
    change_options,
    json_option,
    print_attributes,
    print_json,
    print_table,
)
from web.organisations.message_api import PREVIEW, render_previews, write_trials
from web.organisations.messages import NAMES, preview, read_address, send_test
from web.services import WebServices

org_option = click.option("--org", "org_id", required=True, metavar="ID", help="The organisation.")


@click.group()
def message() -> None:
    """What people get from an organisation."""


@message.command("preview")
@org_option
@click.option("--language", metavar="TAG", help="The default is the organisation's own.")
@click.option("--channel", type=click.Choice([each.value for each in Channel]),
              default=Channel.EMAIL.value, show_default=True)  # fmt: skip
@click.option("--name", type=click.Choice([*NAMES]), default="usual", show_default=True,
              help="Of the person who gets it.")  # fmt: skip
@click.option("--open", "is_opened", is_flag=True, help="Write all of it to a page and open that.")
@json_option
def show_preview(
    org_id: str, language: str | None, channel: str, name: str, *, is_opened: bool, as_json: bool
) -> None:
    """Show a message with a sample code, as it would go out."""
    with open_profile(org_id) as (services, profile):
        shown = preview(services, profile, channel=channel, language=language, name=name)
        path = _write_page(services, profile, shown["language"]) if is_opened else None
    if as_json:
        print_json(PREVIEW.dump(shown) | ({"page": str(path)} if path else {}))
    else:
        text = shown["text"].rstrip("\n")
        prices = (shown.get("price") or {}).items()
        facts = {
            "from": shown.get("sender"),
            "replies to": shown.get("reply_to"),
            "subject": shown.get("subject"),
            "segments": shown.get("segments") and f"{shown['segments']} ({shown['encoding']})",
            "price": ", ".join(f"{where} {each} {shown['currency']}" for where, each in prices),
            "not filled": ", ".join(shown["unfilled"]),
            "page": path,
        }
        print_attributes({name: fact for name, fact in facts.items() if fact})
        click.echo(f"\n{text}")
    if path:
        webbrowser.open(path.as_uri())


@message.command("send-test")
@org_option
@click.option("--to", "address", required=True, metavar="ADDRESS", help="Of your own.")
@click.option("--language", metavar="TAG", help="The default is the organisation's own.")
@change_options
def send_test_message(
    org_id: str, address: str, language: str | None, reason: str, by: str, *, as_json: bool
) -> None:
    """Send a test as the organisation's messages are sent: its look, its From, its providers."""
    recipient = read_address(address)
    with open_profile(org_id) as (services, profile):
        why = audit_reason(by, reason)
        trials = send_test(services, profile, recipient, why, language=language)
    told = write_trials(trials)
    if as_json:
        print_json(told)
    else:
        click.echo(f"recipient {told['recipient']}")
        print_table(told["trials"], empty="")
    if trials[-1].outcome is not Outcome.ACCEPTED:
        raise CommandRefusedError(f"not taken by {', '.join(each.provider for each in trials)}")


def _write_page(services: WebServices, profile: Profile, language: str) -> Path:
    """Return a page of all messages, in a folder that nobody else may read."""
    from web.app import create_app  # noqa: PLC0415 - what only this option needs takes a second

    path = Path(tempfile.mkdtemp(prefix="keyturn-")) / "preview.html"
    with create_app(services).test_request_context():
        path.write_text(render_previews(profile, language), encoding="utf-8")
    return path
