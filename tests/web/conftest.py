"""`keyturn` as an operator types it: every command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import SECRET, a_user, an_organisation, some_services

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def services(real_client):
    services = some_services(real_client)
    an_organisation(services)
    a_user(services)
    return services


@pytest.fixture
def run(services, real_redis_url, tmp_path):
    """Runs a command in a process of its own: it sets up the logs of a whole process."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        return subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            cwd=CHECKOUT,
            env=inherited
            | {
                "KEYTURN_REDIS_URL": real_redis_url,
                "KEYTURN_SECRET_KEYS": SECRET,
                "KEYTURN_DATA_DIR": str(tmp_path),
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run
