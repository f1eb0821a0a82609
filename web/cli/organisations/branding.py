"""`keyturn org branding|logo|texts`: what an organisation owns, and its versions."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import click

from shared.organisations.logos import MAX_LOGO_BYTES, check_logo
from shared.organisations.profile import Profile
from web.cli.admin import audit_reason
from web.cli.support import (
    CommandRefusedError,
    change_options,
    json_option,
    open_services,
    print_result,
    print_table,
)
from web.organisations import service
from web.organisations.schemas import BRANDING, BRANDING_REQUEST, HISTORY
from web.schemas import read_body
from web.services import WebServices

MAX_FILE_BYTES = 1024 * 1024
COLOURS = ("accent", "onAccent", "link")
id_argument = click.argument("org_id", metavar="ID")
language_argument = click.argument("language", metavar="TAG")


@contextmanager
def open_profile(org_id: str) -> Iterator[tuple[WebServices, Profile]]:
    """Open the services and read an organisation's profile; refusals become sentences."""
    with open_services() as services:
        yield services, service.find_profile(services, org_id)


@click.group()
def branding() -> None:
    """How an organisation looks: name, languages, colours, help, postal line."""


@branding.command("show")
@id_argument
@json_option
def show_branding(org_id: str, *, as_json: bool) -> None:
    """Show the branding."""
    with open_profile(org_id) as (_, profile):
        _print_branding(profile, as_json=as_json)


@branding.command("set")
@id_argument
@click.option("--display-name", help="The name in messages.")
@click.option("--language", metavar="TAG", help="The default language.")
@click.option("--allowed-language", "languages", multiple=True, metavar="TAG",
              help="May be repeated; '' for all.")  # fmt: skip
@click.option("--link-host", "link_hosts", multiple=True, metavar="HOST",
              help="A host that links may lead to; may be repeated; '' for none.")  # fmt: skip
@click.option("--light", metavar="ACCENT[,ON_ACCENT[,LINK]]", help="Colours such as #1f54cc.")
@click.option("--dark", metavar="ACCENT[,ON_ACCENT[,LINK]]", help="The same on dark grounds.")
@click.option("--help-url", help="Where people find help; https.")
@click.option("--postal-line", help="The postal address, in one line.")
@click.option("--reply-to", help="Where replies to mails go.")
@change_options
def set_branding(org_id: str, *, reason: str, by: str, as_json: bool, **given: Any) -> None:
    """Change what is given; '' is the default."""
    for name in ("languages", "link_hosts"):
        given[name] = [each for each in given[name] if each] if given[name] else None
    for mode in ("light", "dark"):
        if given[mode]:
            parts = [part.strip() or None for part in given[mode].split(",")]
            if len(parts) > len(COLOURS):
                raise click.UsageError(f"--{mode} has at most {len(COLOURS)} colours")
            given[mode] = dict(zip(COLOURS, parts, strict=False))
    changes = {name: value for name, value in given.items() if value is not None}
    body = {name: None if value == "" else value for name, value in changes.items()}
    read = read_body(json.dumps(body | {"reason": reason}).encode(), BRANDING_REQUEST)
    why = audit_reason(by, read.pop("reason"))
    with open_profile(org_id) as (services, profile):
        service.change_branding(services, profile, read, why)
        _print_branding(service.find_profile(services, org_id), as_json=as_json)


@click.command("logo")
@id_argument
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--remove", is_flag=True, help="Remove the logo.")
@change_options
def set_logo(
    org_id: str, file: IO[bytes] | None, reason: str, by: str, *, remove: bool, as_json: bool
) -> None:
    """Replace the logo by a PNG or SVG of at most 100 KB, or remove it."""
    if (file is None) != remove:
        raise click.UsageError("give either a file or --remove")
    logo = check_logo(file.read(10 * MAX_LOGO_BYTES)) if file else None
    with open_profile(org_id) as (services, profile):
        service.change_logo(services, profile, logo, audit_reason(by, reason))
        _print_branding(service.find_profile(services, org_id), as_json=as_json)


@click.group()
def texts() -> None:
    """Sentences that replace built-in ones, by language."""


@texts.command("list")
@id_argument
@json_option
def list_texts(org_id: str, *, as_json: bool) -> None:
    """List the languages that have sentences of their own."""
    with open_profile(org_id) as (_, profile):
        rows = [
            {"language": tag, "version": text.version, "sentences": len(text.sentences)}
            for tag, text in sorted(profile.texts.items())
        ]
    print_table(rows, empty="All texts are the built-in ones.", as_json=as_json)


@texts.command("show")
@id_argument
@language_argument
@click.option("--built-in", is_flag=True, help="Show the built-in sentences too.")
@json_option
def show_texts(org_id: str, language: str, *, built_in: bool, as_json: bool) -> None:
    """Show the sentences of one language; the JSON can be given to `set`."""
    with open_profile(org_id) as (services, profile):
        sentences = dict(service.find_text(services, profile, language).sentences)
        if built_in:
            sentences = service.built_in(services, language) | sentences
    if sentences or as_json:
        print_result(sentences, as_json=as_json)
    else:
        click.echo("All texts of this language are the built-in ones.")


@texts.command("set")
@id_argument
@language_argument
@click.argument("file", type=click.File("rb"))
@change_options
def set_texts(
    org_id: str, language: str, file: IO[bytes], reason: str, by: str, *, as_json: bool
) -> None:
    """Replace the sentences of one language by those of a TOML or JSON file (- for input)."""
    sentences = _read_sentences(file)
    with open_profile(org_id) as (services, profile):
        why = audit_reason(by, reason)
        version = service.change_texts(services, profile, language, sentences, why)
    result = {"language": language, "version": version, "sentences": len(sentences)}
    print_result(result, as_json=as_json)


@texts.command("history")
@id_argument
@json_option
def show_history(org_id: str, *, as_json: bool) -> None:
    """List the last fifty versions, the newest first."""
    with open_profile(org_id) as (services, _):
        shown = HISTORY.dump({"versions": services.profiles.history(org_id)})
    if as_json:
        print_result(shown, as_json=True)
        return
    rows = [each | {"sentences": len(each["sentences"])} for each in shown["versions"]]
    print_table(rows, empty="All texts have always been the built-in ones.")


@texts.command("rollback")
@id_argument
@click.argument("version", type=click.IntRange(min=1))
@change_options
def roll_back(org_id: str, version: int, reason: str, by: str, *, as_json: bool) -> None:
    """Make an earlier version of a language's sentences the newest."""
    with open_profile(org_id) as (services, profile):
        text = service.find_version(services, profile, version)
        new = service.change_texts(
            services,
            profile,
            text.language,
            text.sentences,
            audit_reason(by, reason),
            action="organisation.rollback",
        )
    print_result({"language": text.language, "version": new}, as_json=as_json)


def _print_branding(profile: Profile, *, as_json: bool) -> None:
    shown = BRANDING.dump(profile.branding)
    if not as_json:
        for mode in ("light", "dark"):
            shown[mode] = ", ".join(f"{name} {each}" for name, each in shown[mode].items())
        if shown["logo"]:
            shown["logo"] = "{mediaType}, {width} by {height}, {bytes} bytes".format(
                **shown["logo"]
            )
    print_result({"orgId": profile.org_id} | shown, as_json=as_json)


def _read_sentences(file: IO[bytes]) -> dict[str, str]:
    """Return the sentences of a TOML file with sections, or of a JSON object, by key.

    Raises:
        CommandRefusedError: it is neither, or holds something else than texts.
    """
    content = file.read(MAX_FILE_BYTES)
    try:
        text = content.decode()
        read = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:  # both kinds of errors are
        raise CommandRefusedError(f"the file is neither TOML nor JSON: {error}") from None
    sentences: dict[str, str] = {}
    for section, found in read.items():
        parts = found.items() if isinstance(found, Mapping) else [("", found)]
        for name, sentence in parts:
            key = f"{section}.{name}".removesuffix(".")
            if not isinstance(sentence, str):
                raise CommandRefusedError(f"{key}: must be a text")
            sentences[key] = sentence
    return sentences
