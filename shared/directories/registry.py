"""List the user directories; KEYTURN_DIRECTORY names the one in use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from shared.directories import Directory
from shared.directories.formats import ApplicationHasher
from shared.directories.http import HttpDirectory
from shared.directories.passwords import HASHES_AT_ONCE, Argon2Hasher
from shared.directories.redis import RedisDirectory
from shared.errors import SettingsError
from shared.settings import Settings
from shared.store.admin.statistics import CounterStore
from shared.store.connection import Client
from shared.store.digests import Digests

Builder: TypeAlias = Callable[[Settings, Client, Digests], Directory]


def _build_redis(settings: Settings, client: Client, digests: Digests) -> Directory:
    """Return the built-in directory; half of the web threads stay free of passwords."""
    hasher = Argon2Hasher(places=max(HASHES_AT_ONCE, settings.web_threads // 2))
    lifetime = settings.code_lifetime_seconds
    return RedisDirectory(client, digests, hasher=hasher, code_lifetime_seconds=lifetime)


def _build_sql(settings: Settings, client: Client, _digests: Digests) -> Directory:
    try:
        from shared.directories.sql import SqlDirectory  # noqa: PLC0415 - of an extra
        from shared.directories.sql.statements import Statements  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError("KEYTURN_DIRECTORY=sql needs `pip install 'keyturn[sql]'`") from error

    def make_hasher(statements: Statements) -> ApplicationHasher:
        return ApplicationHasher(
            statements.hash,
            cost=statements.cost,
            pepper=settings.directory_pepper,
            places=max(HASHES_AT_ONCE, settings.web_threads // 2),
            count_unknown=partial(CounterStore(client).add, "unknown_hashes"),
        )

    return SqlDirectory(
        settings.directory_url,
        settings.directory_preset,
        org_id=settings.directory_org,
        timeout_seconds=settings.directory_timeout_seconds,
        make_hasher=make_hasher,
    )


def _build_http(settings: Settings, _client: Client, _digests: Digests) -> Directory:
    return HttpDirectory(
        settings.directory_url,
        settings.directory_secret,
        org_id=settings.directory_org,
        timeout_seconds=settings.directory_timeout_seconds,
    )


DIRECTORIES: dict[str, Builder] = {"redis": _build_redis, "sql": _build_sql, "http": _build_http}


def build_directory(settings: Settings, client: Client, digests: Digests) -> Directory:
    """Return the directory of the settings."""
    return DIRECTORIES[settings.directory](settings, client, digests)
