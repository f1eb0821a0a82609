"""`keyturn doctor`: look whether an installation is as Keyturn needs it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from threading import Thread
from urllib.parse import urlsplit

import click

from shared.errors import SettingsError
from shared.organisations.domain_check import FAIL, NONE, PASS, DomainCheck
from shared.organisations.sender import From
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.settings.types import LOOPBACK, BrokerKind
from shared.store.admin.inspection import Check, inspect_keys, inspect_nodes
from shared.wiring import connect_store
from web.cli.organisations.senders import read_nameserver
from web.cli.support import json_option, print_json

PATIENCE_SECONDS = 10.0  # for all checks together: they run beside each other
LOW_DISK_BYTES = 2**30
PARTS = ("keyturn", "celery", "kombu", "redis", "flask", "granian")


@click.command("doctor")
@click.option("--nameserver", default="", metavar="ADDRESS[@PORT]", help="Ask this one.")
@json_option
def doctor(nameserver: str, *, as_json: bool) -> None:
    """Check Redis, broker, clocks, keys, sender, disk; say what mends them."""
    checks = list(_run(read_nameserver(nameserver)))
    if as_json:
        print_json([each._asdict() for each in checks])
    for each in checks if not as_json else ():
        click.echo(f"{each.level:8} {each.about:12} {each.text}")
    sys.exit(int(any(each.level == "error" for each in checks)))


def _run(dns: DomainCheck) -> Iterator[Check]:
    shown = (f"{name} {version(name)}" for name in PARTS)
    yield Check("versions", "ok", f"{', '.join(shown)}, Python {sys.version.split()[0]}")
    try:
        settings = load_settings(os.environ)
        client, hints = connect_store(settings), HintPublisher(make_celery(settings))
    except SettingsError as error:
        yield Check("settings", "error", str(error))
        return
    yield from _beside_each_other({
        "settings": lambda: _check_settings(settings),
        "redis": lambda: inspect_nodes(client, settings),
        "keys": lambda: [inspect_keys(client, settings.secret_keys)],
        "broker": lambda: [_check_broker(settings, hints)],
        "sender": lambda: _check_sender(settings, dns),
        "disk": lambda: [_check_disk(settings)],
    })  # fmt: skip


def _beside_each_other(checks: dict[str, Callable[[], Iterable[Check]]]) -> Iterator[Check]:
    """Run checks in threads, which are left behind when they take too long."""
    found: dict[str, list[Check]] = {about: [] for about in checks}

    def run(about: str) -> None:
        try:
            found[about].extend(checks[about]())
        except Exception as error:  # noqa: BLE001  # a diagnosis never ends in a traceback
            name = type(error).__name__
            found[about].append(Check(about, "error", f"cannot be checked ({name}); mend the rest"))

    threads = {about: Thread(target=run, args=(about,), daemon=True) for about in checks}
    for thread in threads.values():
        thread.start()
    until = time.monotonic() + PATIENCE_SECONDS
    for about, thread in threads.items():
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            text = f"no answer within {PATIENCE_SECONDS:.0f} s; look at the network between"
            found[about].append(Check(about, "warning" if about == "sender" else "error", text))
        yield from tuple(found[about])


def _check_settings(settings: Settings) -> Iterator[Check]:
    accounts = settings.twilio_accounts
    sends = {*settings.email_providers, *settings.sms_providers} - {"outbox"}
    text = f"links begin with {settings.link_base}"
    wrong = f"{text}, which people cannot reach; set KEYTURN_PUBLIC_URL"
    is_here = urlsplit(settings.link_base).hostname in LOOPBACK
    yield Check.judge("settings", text, (is_here and sends, "error", wrong))
    sendgrid = settings.sendgrid_webhook_public_key
    callbacks = [(a.provider, a.auth_token, f"{a.prefix}AUTH_TOKEN") for a in accounts]
    callbacks.append(("sendgrid", sendgrid, "KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY"))
    for name, key, variable in callbacks:
        if name in sends:
            text = f"those of {name} are all refused, so its outcomes are unknown; set {variable}"
            fine = f"those of {name} can be verified"
            yield Check.judge("callbacks", fine, (not key, "warning", text))


def _check_disk(settings: Settings) -> Check:
    place = settings.data_dir.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB are free at {place}"
    low = f"{text}; free some, or move KEYTURN_DATA_DIR"
    return Check.judge("disk", text, (free < LOW_DISK_BYTES, "warning", low))


def _check_broker(settings: Settings, hints: HintPublisher) -> Check:
    kind = settings.broker_kind + ("" if settings.broker_url else " (that of the records)")
    is_away = settings.broker_kind is not BrokerKind.NONE and not hints.is_connected()
    away = f"{kind} does not answer; start it, or mend KEYTURN_BROKER_URL; sweepers do without it"
    return Check.judge("broker", kind, (is_away, "error", away))


def _check_sender(settings: Settings, dns: DomainCheck) -> Iterator[Check]:
    carriers = set(settings.email_providers) - {"outbox"}
    domain = settings.email_from.rpartition("@")[2]
    if not carriers or domain.endswith(".example"):
        example = f"{domain} is an example; set KEYTURN_EMAIL_FROM"
        yield Check.judge(
            "sender", "no mail leaves this installation", (carriers, "error", example)
        )
        return
    _, found = dns.check(From(settings.email_from), "", carriers)
    remedies = {
        "spf": "publish a TXT record v=spf1 that names who sends",
        "dkim": "publish the keys that SendGrid shows",
        "dmarc": f"publish a TXT record _dmarc.{domain}, and SPF or DKIM that fit it",
    }
    if "sendgrid" not in carriers:
        del remedies["dkim"]  # only the relay knows its selector
    for name, remedy in remedies.items():
        label, result = f"{name.upper()} of {domain}", found[name]
        is_lost = result == FAIL and (name == "dmarc" or found["spf"] == found["dkim"])
        wrong = f"{label} is missing or does not fit, so mails are taken for spam; {remedy}"
        silent = f"{label} is unknown: DNS is silent; --nameserver asks another one"
        level = "error" if is_lost else "warning"
        rules = ((result in (FAIL, NONE), level, wrong), (result != PASS, "warning", silent))
        yield Check.judge("sender", f"{label} is as it should be", *rules)
