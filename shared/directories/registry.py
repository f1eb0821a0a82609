"""List the user directories; KEYTURN_DIRECTORY names the one in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from shared.directories import Directory
from shared.directories.passwords import HASHES_AT_ONCE, Argon2Hasher
from shared.directories.redis import RedisDirectory
from shared.settings import Settings
from shared.store.connection import Client
from shared.store.digests import Digests

Builder: TypeAlias = Callable[[Settings, Client, Digests], Directory]


def _build_redis(settings: Settings, client: Client, digests: Digests) -> Directory:
    """Return the built-in directory; half of the web threads stay free of passwords."""
    hasher = Argon2Hasher(places=max(HASHES_AT_ONCE, settings.web_threads // 2))
    lifetime = settings.code_lifetime_seconds
    return RedisDirectory(client, digests, hasher=hasher, code_lifetime_seconds=lifetime)


DIRECTORIES: dict[str, Builder] = {"redis": _build_redis}


def build_directory(settings: Settings, client: Client, digests: Digests) -> Directory:
    """Return the directory of the settings."""
    return DIRECTORIES[settings.directory](settings, client, digests)
