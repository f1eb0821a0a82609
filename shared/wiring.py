"""The one place where real things are built from Settings; all else is handed what it needs."""

from __future__ import annotations

from shared.settings import Settings
from shared.store.connection import Client, connect


def connect_store(settings: Settings) -> Client:
    """A client of the store's server; connects at its first command."""
    return connect(settings.server_url)
