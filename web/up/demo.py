"""Make the secret keys and the demo users on the first start of `keyturn up`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from shared import validation
from shared.directories.redis import RedisDirectory
from shared.errors import DirectoryUnavailableError, SettingsError, StoreUnavailableError
from shared.models import Organisation
from shared.settings import SECRET_KEYS_FILE
from shared.store.admin.audit import Act, AuditStore
from shared.store.callers import CallerStore, Grants
from shared.store.digests import Digests
from shared.wiring import connect_store
from web.up.probe import LOOPBACK_OF, get_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shared.settings import Settings

LOGIN_FILE = "flower_login"
TOKEN_FILE = "demo_token"  # noqa: S105  # the file's name
RETRY_SECONDS = 1.0
ORG_ID = "demo"
USER_ID = "ada"
USER = {
    "userId": USER_ID,
    "orgId": ORG_ID,
    "userName": "ada",
    "displayName": "Ada Lovelace",
    "language": "en",
    "email": "ada@example.com",
    "emailVerified": True,
    "phone": "+41791234567",
    "phoneVerified": True,
    "state": "active",
    "kind": "human",
}

LINK_SECONDS = 600
SESSION_SECONDS = 12 * 3600  # as long as a session of the console lasts
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 2.0
SLOW_START_SECONDS = 20.0
NOT_FOUND = 404
OK = 200


def write_secret_keys(settings: Settings) -> None:
    """Write new secret keys into the data directory unless the settings have some.

    They are on disk before anything is signed: without them no code can be verified any more.
    """
    if not settings.secret_keys:
        write_private(settings.data_dir / SECRET_KEYS_FILE, secrets.token_hex(32) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123  # an open descriptor
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_logins(settings: Settings) -> list[str]:
    """Return the logins that were set; else the one in the data directory, made if it is missing.

    Raises:
        SettingsError: the file does not hold a login.
    """
    if settings.flower_basic_auth:
        return list(settings.flower_basic_auth)
    path = settings.data_dir / LOGIN_FILE
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, f"operator:{secrets.token_urlsafe(24)}\n")
    try:
        return list(validation.logins(path.read_text().strip() or ":"))  # empty: refused too
    except ValueError as error:
        raise SettingsError(f"{path}: {error}; remove the file for a new one") from error


class DemoSeeder:
    """Seeds the demo as soon as the store answers."""

    def __init__(self, settings: Settings) -> None:
        """Connect with the first try."""
        client = connect_store(settings)
        digests = Digests(client, settings.secret_keys)
        self._audit = AuditStore(client, digests, settings.durability)
        self._callers = CallerStore(client, digests)
        self._directory = RedisDirectory(client, digests)
        self._data_dir, self._settings = settings.data_dir, settings
        self._is_done = settings.directory != "redis"  # then the users are not ours to add to
        self._retry_at = 0.0

    def make_link(self) -> str:
        """Return a link that signs in to the console once, as the owner of the demo."""
        act = Act(by="keyturn up", action="token.add", target=ORG_ID, reason="the demo")
        return make_link(self._callers, self._audit, self._settings, act)

    def is_done(self) -> bool:
        """Seed the demo if it is time for another try; return True once the demo is there."""
        if not self._is_done and time.monotonic() >= self._retry_at:
            try:
                seed_demo(self._callers, self._directory, self._audit, self._data_dir)
                self._is_done = True
            except (StoreUnavailableError, DirectoryUnavailableError):
                self._retry_at = time.monotonic() + RETRY_SECONDS
        return self._is_done


def seed_demo(
    callers: CallerStore, directory: RedisDirectory, audit: AuditStore, data_dir: Path
) -> None:
    """Create the demo organisation, its user and a token, each unless it exists.

    A revoked token is not replaced; if the server was emptied, a new one is made.
    """
    is_new = not callers.organisation_exists(ORG_ID)
    act = partial(Act, by="keyturn up", reason="the demo")
    if is_new:
        with audit.acting(act(action="organisation.add", target=ORG_ID)):
            callers.save_organisation(Organisation(org_id=ORG_ID, name="Demo"))
    if directory.find_user(USER_ID) is None:
        with audit.acting(act(action="user.import", target=USER_ID)):
            directory.import_users([json.dumps(USER)])
    if is_new or not (data_dir / TOKEN_FILE).exists():
        grants = Grants(org_roles={ORG_ID: frozenset({"ORG_OWNER"})})
        with audit.acting(act(action="token.add", target=ORG_ID)) as ending:
            token, record = callers.create_token(ORG_ID, grants)
            ending["target"] = f"{record.token_id} of {ORG_ID}: ORG_OWNER in {ORG_ID}"
            write_private(data_dir / TOKEN_FILE, token + "\n")


def make_link(callers: CallerStore, audit: AuditStore, settings: Settings, act: Act) -> str:
    """Return a link that works once, for ten minutes: it signs in to the console as IAM_OWNER.

    The token behind it, which `act` makes in its target, ends with the session.

    Raises:
        OrganisationUnknownError: there is no such organisation.
    """
    with audit.acting(act) as ending:
        grants = Grants(instance_roles=frozenset({"IAM_OWNER"}))
        token, record = callers.create_token(act.target, grants, lifetime_seconds=SESSION_SECONDS)
        ending["target"] = f"{record.token_id} of {act.target}: IAM_OWNER everywhere"
    secret = callers.add_link(token, seconds=LINK_SECONDS)
    return f"{settings.link_base}/console/sign-in/once/{secret}"


def demo_token(data_dir: Path) -> str:
    """Return the demo's token.

    Raises:
        FileNotFoundError: the demo was never seeded.
    """
    return (data_dir / TOKEN_FILE).read_text().strip()


class ReadyMessage:
    """Prints once that Keyturn is ready, when /readyz reports it."""

    def __init__(self, settings: Settings, *, make_link: Callable[[], str] | None = None) -> None:
        """Call /readyz at the first print_once; `make_link` signs in to the console."""
        self._make_link = make_link
        self._settings = settings
        self._host = LOOPBACK_OF.get(settings.host, settings.host)
        self._base = f"http://{_netloc(self._host, settings.port)}"
        self._started_at = time.monotonic()
        self._poll_at = 0.0
        self.is_printed = False
        self._is_slow = False

    def print_once(self) -> None:
        """Print the message if Keyturn is ready and it has not been printed."""
        now = time.monotonic()
        if self.is_printed or now < self._poll_at:
            return
        self._poll_at = now + POLL_SECONDS
        if self._has_worker() and self._grpc_listens():
            self.is_printed = True
            print("\n".join(self._lines()), flush=True)  # noqa: T201
        elif not self._is_slow and now - self._started_at > SLOW_START_SECONDS:
            self._is_slow = True
            print(f"Not ready yet; {self._base}/readyz says what is missing.", flush=True)  # noqa: T201

    def _has_worker(self) -> bool:
        """Return True if resets are accepted and sent; /readyz is 200 without a worker too."""
        status, body = get_answer(
            self._host, self._settings.port, "/readyz", timeout_seconds=TIMEOUT_SECONDS
        )
        return status == OK and b'"worker":"ok"' in body

    def _status(self, path: str) -> int | None:
        port = self._settings.port
        return get_answer(self._host, port, path, timeout_seconds=TIMEOUT_SECONDS)[0]

    def _grpc_listens(self) -> bool:
        address = (self._host, self._settings.grpc_port)
        with contextlib.suppress(OSError), socket.create_connection(address, TIMEOUT_SECONDS):
            return True
        return False

    def _lines(self) -> list[str]:
        is_open = self._status("/dev/inbox.json") == OK
        has_docs = self._status("/docs") not in (None, NOT_FOUND)
        link = self._make_link() if self._settings.directory == "redis" and self._make_link else ""
        lines = describe_demo(self._settings, has_inbox=is_open, has_docs=has_docs, link=link)
        return ["", "Keyturn is ready. Ask for a reset:", "", *lines]


def describe_demo(
    settings: Settings, *, has_inbox: bool = True, has_docs: bool = True, link: str = ""
) -> list[str]:
    """Return what one needs to try the demo: a command, every address, the token.

    `link` signs in to the console, once.

    Raises:
        FileNotFoundError: the demo was never seeded.
    """
    host = LOOPBACK_OF.get(settings.host, settings.host)
    flower_host = LOOPBACK_OF.get(settings.flower_host, settings.flower_host)
    base, is_demo = f"http://{_netloc(host, settings.port)}", settings.directory == "redis"
    user_id, token = (USER_ID, demo_token(settings.data_dir)) if is_demo else ("ID", "TOKEN")
    url = f"{base}/management/v1/users/{user_id}/password/_reset"
    header = f"Authorization: Bearer {token}"
    lines = [f"  curl -X POST {url} -H '{header}' -d '{{\"type\":\"TYPE_EMAIL\"}}'", ""]
    if "outbox" in settings.email_providers + settings.sms_providers:
        inbox = f"{base}/dev/inbox" if has_inbox else "shut; KEYTURN_DEV_INBOX=on opens it"
        lines.append(f"  the inbox    {inbox}")
    if settings.console == "on":
        lines.append(f"  the console  {link or f'{base}/console'}")
        lines.append("               `keyturn console` prints a link that signs in once")
    if has_docs:
        lines.append(f"  the API      {base}/docs")
    lines.append(f"  gRPC         {_netloc(host, settings.grpc_port)}")
    lines.append(f"  the queues   http://{_netloc(flower_host, settings.flower_port)}/")
    is_set = settings.flower_basic_auth
    login = "KEYTURN_FLOWER_BASIC_AUTH" if is_set else settings.data_dir / LOGIN_FILE
    return [*lines, f"               its login: {login}", ""]


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
