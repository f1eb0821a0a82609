"""Clients nobody here wrote, from npm: installed once, run as the scripts of journeys/clients."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import CHECKOUT

CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-tests"
INSTALL_SECONDS = 100
RUN_SECONDS = 90
NODE, NPM = shutil.which("node"), shutil.which("npm")
needs_node = pytest.mark.skipif(not (NODE and NPM), reason="node and npm are not installed")


def install_clients() -> Path:
    """A directory with the scripts and the packages they need; skips where they cannot be had."""
    wanted = (CLIENTS / "package.json").read_bytes()
    directory = CACHE / hashlib.sha256(wanted).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    for script in CLIENTS.iterdir():
        shutil.copy(script, directory)
    if not (directory / "installed").exists():
        _install(directory)
    return directory


def _install(directory: Path) -> None:
    command = [NPM, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the clients could not be installed in time")
    if done.returncode:
        pytest.skip("the clients could not be installed: is there a way to a package index?")
    (directory / "installed").touch()


def run_script(
    directory: Path, script: str, *, url: str, grpc_url: str, token: str
) -> dict[str, dict[str, object]]:
    """What became of the cases of a script: `{"ok": …}` or `{"error": …}` by name."""
    environ = os.environ | {
        "KEYTURN_URL": url,
        "KEYTURN_GRPC": grpc_url,
        "KEYTURN_TOKEN": token,
        "KEYTURN_CHECKOUT": str(CHECKOUT),
    }
    ran = subprocess.run(
        [NODE, script],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
