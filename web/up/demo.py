"""Make the secret keys and the demo users on the first start of `keyturn up`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING

from shared.directories.redis import RedisDirectory
from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.models import Organisation
from shared.settings import SECRET_KEYS_FILE, Settings
from shared.store.callers import CallerStore, Grants
from shared.store.digests import Digests
from shared.wiring import connect_store

if TYPE_CHECKING:
    from pathlib import Path

    from shared.settings import Settings

TOKEN_FILE = "demo_token"  # noqa: S105  # the file's name
TRY_EVERY_SECONDS = 1.0
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


class FirstStart:
    """Seeds the demo as soon as the store answers."""

    def __init__(self, settings: Settings, registry: StoreRegistry) -> None:
        """Does nothing yet."""
        self._data_dir = settings.data_dir
        self._registry = registry
        self._is_done = False
        self._try_at = 0.0

    def is_done(self) -> bool:
        """True once the demo is there; tries now and then until it is."""
        if not self._is_done and time.monotonic() >= self._try_at:
            try:
                seed_demo(self._registry, self._data_dir)
                self._is_done = True
            except (StoreUnavailableError, DirectoryUnavailableError):
                self._try_at = time.monotonic() + TRY_EVERY_SECONDS
        return self._is_done


def write_secret_keys(settings: Settings) -> None:
    """Make the secret keys of this data directory, unless there are some or the settings name some.

    They are on the disk before anything is signed with them: without them no code works any more.
    """
    if not settings.secret_keys:
        write_private(settings.data_dir / SECRET_KEYS_FILE, secrets.token_hex(32) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123  # an open descriptor
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def seed_demo(registry: StoreRegistry, data_dir: Path) -> None:
    """Make the demo organisation, its user and a token, each unless it is there.

    A token that was revoked is not made again; one of a server that was emptied is.
    """
    is_new = not registry.has_organisation(ORG_ID)
    if is_new:
        registry.save_organisation(Organisation(org_id=ORG_ID, name="Demo"))
    if not registry.has_user(USER_ID):
        registry.import_users([json.dumps(USER)])
    if is_new or not (data_dir / TOKEN_FILE).exists():
        write_private(data_dir / TOKEN_FILE, registry.create_owner_token(ORG_ID) + "\n")


def demo_token(data_dir: Path) -> str:
    """The demo's token.

    Raises:
        FileNotFoundError: there has been no first start.
    """
    return (data_dir / TOKEN_FILE).read_text().strip()


class StoreRegistry:
    """Organisations, users and tokens of a store and its built-in directory."""

    def __init__(self, callers: CallerStore, users: RedisDirectory) -> None:
        """Connects to nothing yet."""
        self._callers = callers
        self._users = users

    def has_organisation(self, org_id: str) -> bool:
        """True when there is such an organisation."""
        return self._callers.organisation_exists(org_id)

    def has_user(self, user_id: str) -> bool:
        """True when there is such a user."""
        return self._users.find_user(user_id) is not None

    def save_organisation(self, organisation: Organisation) -> None:
        """Add or replace an organisation."""
        self._callers.save_organisation(organisation)

    def import_users(self, lines: list[str]) -> object:
        """Take users as JSON Lines."""
        return self._users.import_users(lines)

    def create_owner_token(self, org_id: str) -> str:
        """A new token with the role ORG_OWNER."""
        grants = Grants(org_roles={org_id: frozenset({"ORG_OWNER"})})
        return self._callers.create_token(org_id, grants)[0]


def open_registry(settings: Settings) -> StoreRegistry:
    """Return the registry of these settings."""
    client = connect_store(settings)
    digests = Digests(client, settings.secret_keys)
    return StoreRegistry(CallerStore(client, digests), RedisDirectory(client, digests))


ASK_EVERY_SECONDS = 0.2
ANSWER_SECONDS = 2.0
IMPATIENT_SECONDS = 20.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what to call, not to listen on
NOT_FOUND = 404
OK = 200


class ReadyLines:
    """Says "ready" once, when /readyz says so."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        self._settings = settings
        self._host = ANY_ADDRESS.get(settings.host, settings.host)
        self._started_at = time.monotonic()
        self._ask_at = 0.0
        self._is_told = False
        self._is_impatient = False

    def tell_once(self) -> None:
        """Print the lines if it is ready now and they have not been printed."""
        now = time.monotonic()
        if self._is_told or now < self._ask_at:
            return
        self._ask_at = now + ASK_EVERY_SECONDS
        if self._status("/readyz") == OK and self._grpc_listens():
            self._is_told = True
            print("\n".join(self._lines()), flush=True)  # noqa: T201
        elif not self._is_impatient and now - self._started_at > IMPATIENT_SECONDS:
            self._is_impatient = True
            print(f"Not ready yet; {self._base}/readyz says what is missing.", flush=True)  # noqa: T201

    @property
    def _base(self) -> str:
        return f"http://{self._netloc(self._settings.port)}"

    def _netloc(self, port: int, host: str = "") -> str:
        host = host or self._host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _grpc_listens(self) -> bool:
        address = (self._host, self._settings.grpc_port)
        with contextlib.suppress(OSError), socket.create_connection(address, ANSWER_SECONDS):
            return True
        return False

    def _lines(self) -> list[str]:
        data_dir = self._settings.data_dir
        flower_host = self._settings.flower_host
        flower_host = ANY_ADDRESS.get(flower_host, flower_host)
        flower = f"http://{self._netloc(self._settings.flower_port, flower_host)}"
        lines = [
            "",
            "Keyturn is ready. Ask for a reset:",
            "",
            _curl(self._base, demo_token(data_dir)),
            "",
        ]
        if "outbox" in self._settings.email_providers + self._settings.sms_providers:
            lines.append(f"  the inbox    {self._base}/dev/inbox")
        if self._status("/docs") not in (None, NOT_FOUND):
            lines.append(f"  the API      {self._base}/docs")
        lines.append(f"  gRPC         {self._netloc(self._settings.grpc_port)}")
        return [*lines, f"  the queues   {flower}/", ""]

    def _status(self, path: str) -> int | None:
        """The status of a GET; None when nobody answers."""
        line = http.client.HTTPConnection(self._host, self._settings.port, timeout=ANSWER_SECONDS)
        try:
            line.request("GET", path)
            return line.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            line.close()


def _curl(base: str, token: str) -> str:
    return (
        f"  curl -X POST {base}/management/v1/users/{USER_ID}/password/_reset"
        f" -H 'Authorization: Bearer {token}' -d '{{\"type\":\"TYPE_EMAIL\"}}'"
    )
