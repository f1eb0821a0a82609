"""List the user directories; KEYTURN_DIRECTORY names the one in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from shared.directories import Directory
from shared.directories.redis import RedisDirectory
from shared.settings import Settings
from shared.store.connection import Client
from shared.store.digests import Digests

Builder: TypeAlias = Callable[[Settings, Client, Digests], Directory]

DIRECTORIES: dict[str, Builder] = {
    "redis": lambda settings, client, digests: RedisDirectory(
        client, digests, code_lifetime_seconds=settings.code_lifetime_seconds
    ),
}


def build_directory(settings: Settings, client: Client, digests: Digests) -> Directory:
    """Return the directory of the settings."""
    return DIRECTORIES[settings.directory](settings, client, digests)
