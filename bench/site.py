"""A services to measure in: a server of its own, settings, users, a token; all gone afterwards."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
import trustme

from bench.processes import free_port, running
from shared.models import Organisation
from shared.queue import HintPublisher, make_celery
from shared.settings import Settings, load_settings, socket_path
from shared.store.callers import Grants
from shared.store.connection import Client
from shared.wiring import Services, build_services, connect_store
from web.up.valkey import EmbeddedServer

ORG = "bench"
MEMORY = Path("/dev/shm")  # noqa: S108 - where there is one, nobody's disk disturbs the figures
DRAIN_EVERY_SECONDS = 0.02
WRITTEN_TOGETHER = 1000


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where everything is."""

    folder: Path
    environment: dict[str, str]
    settings: Settings
    client: Client
    services: Services
    token: str
    users: int
    stub_port: int
    certificate: Path

    @property
    def log(self) -> Path:
        """Where the programs of a run write; shown when one of them fails."""
        return self.folder / "log"


@contextmanager
def open_site(*, users: int, store_url: str = "") -> Iterator[Site]:
    """A site with its embedded server running and `users` people named u0, u1 ….

    With a store elsewhere the embedded server is the broker alone.
    """
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-", dir=place) as name:
        folder = Path(name)
        certificate, authority = _issue_certificate(folder)
        stub_port = free_port()
        environment = _environment(folder, authority, stub_port)
        if store_url:
            environment |= {
                "KEYTURN_REDIS_URL": store_url,
                "KEYTURN_BROKER_URL": f"unix://{socket_path(folder / 'data')}",
            }
        settings = load_settings(environment)
        server = EmbeddedServer(settings.data_dir)
        server.prepare()
        with running(*server.command(), is_ready=server.is_ready, log=folder / "log"):
            client = connect_store(settings)
            hints = HintPublisher(make_celery(settings), is_in_store=not settings.broker_url)
            services = build_services(settings, client=client, hints=hints)
            yield Site(
                folder=folder,
                environment=environment,
                settings=settings,
                client=client,
                services=services,
                token=_settle(services, users),
                users=users,
                stub_port=stub_port,
                certificate=certificate,
            )
            hints.close()
            client.close()


def _environment(folder: Path, authority: Path, stub_port: int) -> dict[str, str]:
    plain = {
        "DATA_DIR": folder / "data",
        "PORT": free_port(),
        "SECRET_KEYS": secrets.token_hex(32),
        "EMAIL_PROVIDERS": "sendgrid",
        "SENDGRID_API_KEY": "SG.bench",
        "SENDGRID_API_URL": f"https://127.0.0.1:{stub_port}",
        "LOG_LEVEL": "info",
        # Every limit is on and looked at; none is reached.
        "USER_COOLDOWN_SECONDS": "1",
        "USER_LIMIT_PER_HOUR": 1000,
        "USER_LIMIT_PER_DAY": 1000,
        "ORG_LIMIT_PER_MINUTE": 10_000_000,
        "CALLER_LIMIT_PER_MINUTE": 10_000_000,
    }
    spelled = {f"KEYTURN_{name}": str(value) for name, value in plain.items()}
    return spelled | {"SSL_CERT_FILE": str(authority)}


def _issue_certificate(folder: Path) -> tuple[Path, Path]:
    authority = trustme.CA()
    certificate, trusted = folder / "stub.pem", folder / "authority.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    # Behind the machine's own, for a client that reads them for every mail is to pay for that.
    trusted.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return certificate, trusted


def _settle(services: Services, users: int) -> str:
    """The organisation, its people and a token that may reset them."""
    services.callers.save_organisation(Organisation(ORG, "Bench", "en"))
    for first in range(0, users, WRITTEN_TOGETHER):
        numbers = range(first, min(users, first + WRITTEN_TOGETHER))
        services.directory.save_fields(({}, person(f"u{number}")) for number in numbers)
    grants = Grants(org_roles={ORG: frozenset({"ORG_USER_MANAGER"})})
    return services.callers.create_token(ORG, grants)[0]


def person(user_id: str) -> dict[str, str]:
    """A user as an import of JSON Lines would have stored it."""
    return {
        "userId": user_id,
        "orgId": ORG,
        "displayName": f"Person {user_id[1:]}",
        "email": f"{user_id}@example.com",
        "emailVerified": "1",
    }


@contextmanager
def drained(client: Client, *lists: str) -> Iterator[None]:
    """Nobody works in this run, so the lists are emptied as workers would empty them."""
    stop = threading.Event()

    def drain() -> None:
        while not stop.wait(DRAIN_EVERY_SECONDS):
            client.delete(*lists)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
