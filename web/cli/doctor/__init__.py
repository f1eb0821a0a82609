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

from shared.directories.gate import OutsideDirectory
from shared.errors import SettingsError, StoreUnavailableError
from shared.models import Queue
from shared.organisations.domain_check import FAIL, NONE, PASS, DomainCheck
from shared.organisations.sender import From
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings
from shared.settings.types import LOOPBACK, BrokerKind
from shared.store.admin.inspection import Check, inspect_keys, inspect_nodes
from shared.wiring import Services, build_services, connect_store
from web.cli.organisations.senders import read_nameserver
from web.cli.support import json_option, print_table

PATIENCE_SECONDS = 10.0  # for all checks together: they run beside each other
BROKERS = {
    BrokerKind.REDIS: "Redis",
    BrokerKind.RABBITMQ: "RabbitMQ",
    BrokerKind.SQS: "Amazon SQS",
}
LOW_DISK_BYTES, LEAST_DISK_BYTES = 2**30, 2**27
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
PARTS = ("keyturn", "celery", "kombu", "redis", "flask", "granian")


@click.command("doctor")
@click.option("--nameserver", default="", metavar="ADDRESS[@PORT]", help="Ask this one.")
@json_option
def doctor(nameserver: str, *, as_json: bool) -> None:
    """Check Redis, broker, clocks, keys, sender and disk; say what mends them.

    The exit status is 1 if a line is an error.
    """
    dns = read_nameserver(nameserver)
    checks = list(_run(dns))
    if as_json:
        print_table([each._asdict() for each in checks], empty="", as_json=True)
    else:
        for each in checks:
            level = click.style(f"{each.level:8}", fg=COLOURS[each.level])
            click.echo(f"{level} {each.about:12} {each.text}")
    sys.exit(int(any(each.level == "error" for each in checks)))


def _run(dns: DomainCheck) -> Iterator[Check]:
    shown = (f"{name} {version(name)}" for name in PARTS)
    yield Check("versions", "ok", f"{', '.join(shown)}, Python {sys.version.split()[0]}")
    try:
        settings = load_settings(os.environ)
        client, hints = connect_store(settings), HintPublisher(make_celery(settings))
        services = build_services(settings, client=client, hints=hints)
    except SettingsError as error:
        yield Check("settings", "error", str(error))
        return
    yield from _beside_each_other({
        "settings": lambda: _check_settings(settings),
        "redis": lambda: inspect_nodes({"": client}, settings),
        "keys": lambda: [inspect_keys(client, settings.secret_keys)],
        "workers": lambda: _check_workers(services),
        "broker": lambda: _check_broker(services),
        "directory": lambda: _check_directory(services),
        "sender": lambda: _check_sender(settings, dns),
        "disk": lambda: _check_disk(settings),
    })  # fmt: skip


def _beside_each_other(checks: dict[str, Callable[[], Iterable[Check]]]) -> Iterator[Check]:
    """Run checks in threads, which are left behind when they take too long."""
    found: dict[str, list[Check]] = {about: [] for about in checks}

    def run(about: str) -> None:
        try:
            found[about].extend(checks[about]())
        except StoreUnavailableError:
            found[about].append(Check(about, "warning", "unknown, as Redis does not serve this"))
        except Exception as error:  # noqa: BLE001  # a diagnosis never ends in a traceback
            name = type(error).__name__
            found[about].append(Check(about, "error", f"cannot be checked ({name}); is it there?"))

    threads = {about: Thread(target=run, args=(about,), daemon=True) for about in checks}
    for thread in threads.values():
        thread.start()
    until = time.monotonic() + PATIENCE_SECONDS
    for about, thread in threads.items():
        thread.join(max(0.0, until - time.monotonic()))
        yield from tuple(found[about])
        if thread.is_alive():
            level = "warning" if about == "sender" else "error"
            yield Check(about, level, f"no answer within {PATIENCE_SECONDS:.0f} s; look at the "
                        "network between")  # fmt: skip


def _check_settings(settings: Settings) -> Iterator[Check]:
    host = urlsplit(settings.link_base).hostname or ""
    is_here = host in ("localhost", *LOOPBACK)
    sends = {*settings.email_providers, *settings.sms_providers} - {"outbox"}
    if is_here and sends:
        yield Check("settings", "error", f"links lead to {host}, which people cannot reach; set "
                    "KEYTURN_PUBLIC_URL")  # fmt: skip
    else:
        yield Check("settings", "ok", f"links begin with {settings.link_base}")
    needs = {
        "sendgrid": (settings.sendgrid_webhook_public_key, "KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY"),
        **{each.provider: (each.auth_token, f"{each.prefix}AUTH_TOKEN")
           for each in settings.twilio_accounts},
    }  # fmt: skip
    for name in sorted(sends & needs.keys()):
        key, setting = needs[name]
        if key:
            yield Check("callbacks", "ok", f"those of {name} can be verified")
        else:
            yield Check("callbacks", "warning", f"those of {name} are all refused, so what became "
                        f"of a message is unknown; set {setting}")  # fmt: skip


def _check_disk(settings: Settings) -> Iterator[Check]:
    place = settings.data_dir.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    level, remedy = "ok", ""
    if free < LOW_DISK_BYTES:
        level, remedy = "warning", "; free some, or move KEYTURN_DATA_DIR"
    yield Check("disk", "error" if free < LEAST_DISK_BYTES else level,
                f"{free / 2**30:.1f} GiB are free at {place}{remedy}")  # fmt: skip


def _check_workers(services: Services) -> Iterator[Check]:
    for queue in Queue:
        if number := len(services.dues.workers_seen(queue)):
            yield Check("workers", "ok", f"{number} of the {queue} queue")
        else:
            text = f"none of the {queue} queue; `python -m worker --queues {queue}` starts one"
            yield Check("workers", "warning", text)


def _check_broker(services: Services) -> Iterator[Check]:
    settings = services.settings
    if settings.broker_kind is BrokerKind.NONE:
        yield Check("broker", "ok", "none: sweepers deliver by themselves")
        return
    kind = BROKERS[settings.broker_kind] + ("" if settings.broker_url else ", that of the records")
    if services.hints.is_connected():
        yield Check("broker", "ok", kind)
    else:
        yield Check("broker", "error", f"{kind} does not answer, so messages go out later; start "
                    "it, or correct KEYTURN_BROKER_URL")  # fmt: skip


def _check_directory(services: Services) -> Iterator[Check]:
    if not isinstance(services.directory, OutsideDirectory):
        yield Check("directory", "ok", "the built-in one; its users stand in Redis")
        return
    for each in services.directory.inspect():
        yield Check("directory", "error" if each.level == "away" else each.level, each.text)


def _check_sender(settings: Settings, dns: DomainCheck) -> Iterator[Check]:
    carriers = set(settings.email_providers) - {"outbox"}
    domain = settings.email_from.rpartition("@")[2]
    if not carriers:
        yield Check("sender", "ok", "no mail leaves this installation")
        return
    if domain.endswith(".example"):
        yield Check("sender", "error", f"{domain} is an example; set KEYTURN_EMAIL_FROM")
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
        if result == PASS:
            yield Check("sender", "ok", f"{label} is as it should be")
        elif result in (FAIL, NONE):
            text = f"{label} is missing or does not fit, so mails are taken for spam; {remedy}"
            yield Check("sender", "error" if is_lost else "warning", text)
        else:
            text = f"{label} is unknown, as DNS does not answer; --nameserver asks another one"
            yield Check("sender", "warning", text)
