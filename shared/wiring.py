"""The one place where real things are built from Settings; all else is handed what it needs."""

from __future__ import annotations

from shared.errors import SettingsError
from shared.settings import Settings
from shared.store.connection import Client, connect


def connect_store(settings: Settings) -> Client:
    """A client of the store's server; connects at its first command.

    Raises:
        SettingsError: KEYTURN_REDIS_URL is no URL of a server.
    """
    try:
        return connect(settings.server_url)
    except ValueError as error:  # the error's own text may hold the password
        raise SettingsError(
            "KEYTURN_REDIS_URL: must look like redis://host:6379/0, rediss://… or unix:///path"
        ) from error
