"""`keyturn` as an operator types it: every command in a process of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.builders import SECRET, a_user, an_organisation, some_services
from tests.command_zygote import Zygote


@pytest.fixture
def services(real_client):
    services = some_services(real_client)
    an_organisation(services)
    a_user(services)
    return services


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("commands"))
    yield zygote
    zygote.close()


@pytest.fixture
def run(run_any):
    """Runs `keyturn …`."""
    return run_any


@pytest.fixture
def run_any(services, real_redis_url, tmp_path, zygote):
    """Runs a command in a process of its own: it sets up the logs of a whole process."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        own = {
            "KEYTURN_REDIS_URL": real_redis_url,
            "KEYTURN_SECRET_KEYS": SECRET,
            "KEYTURN_DATA_DIR": str(tmp_path),
        }
        return zygote.run(arguments, inherited | own | environ)

    return run
