"""Flower's logins; write files for their owner alone."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from shared import validation
from shared.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from shared.settings import Settings

LOGIN_FILE = "flower_login"


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
