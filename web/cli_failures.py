"""Failures on the command line as one sentence each; never a traceback, never a secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click

from shared.errors import (
    DirectoryUnavailableError,
    KeyturnError,
    SettingsError,
    StoreUnavailableError,
)
from shared.settings import load_settings


class RefusedError(click.ClickException):
    """What was asked for is refused, for the reason given; exit status 1."""


@contextmanager
def tell_failures() -> Iterator[None]:
    """Turn what Keyturn raises into a sentence on stderr and exit status 1."""
    try:
        yield
    except (StoreUnavailableError, DirectoryUnavailableError) as error:
        raise RefusedError(_unavailable(error)) from error
    except (SettingsError, KeyturnError) as error:
        raise RefusedError(str(error)) from error


def _unavailable(error: StoreUnavailableError | DirectoryUnavailableError) -> str:
    is_plain = error.message == (type(error).__doc__ or "").strip()
    before = "" if is_plain else f"{error.message}. "
    return (
        f"{before}Redis at {_server_name()} does not serve this ({_root_cause(error)}); "
        "start it (`keyturn up` starts one), or set KEYTURN_REDIS_URL"
    )


def _server_name() -> str:
    """Where the server is, without its password."""
    parts = urlsplit(load_settings(os.environ).server_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _root_cause(error: BaseException) -> str:
    """The name of the first failure: its text may repeat what was sent."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
