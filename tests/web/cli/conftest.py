"""`keyturn` as an operator types it: in this process, and in one of its own where that matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from tests import CHECKOUT
from tests.support.builders import SECRET, a_user, an_organisation, some_services
from web.cli import keyturn


@pytest.fixture
def services(real_client):
    services = some_services(real_client)
    an_organisation(services)
    a_user(services)
    return services


@pytest.fixture
def run(run_any):
    """Runs `keyturn …`."""
    return run_any


@pytest.fixture
def run_any(services, real_redis_url, tmp_path):
    """Runs a command in this process; what it does not turn into a sentence fails the test."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        unset = dict.fromkeys(name for name in os.environ if name.startswith("KEYTURN_"))
        own = an_environment(real_redis_url, tmp_path)
        done = CliRunner(catch_exceptions=False).invoke(
            keyturn, arguments, env=unset | own | environ, prog_name="keyturn"
        )
        command = ["keyturn", *arguments]
        return subprocess.CompletedProcess(command, done.exit_code, done.stdout, done.stderr)

    yield run
    structlog.configure(**before)


@pytest.fixture
def run_process(services, real_redis_url, tmp_path):
    """Runs a command in a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        return subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            cwd=CHECKOUT,
            env=inherited | an_environment(real_redis_url, tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def an_environment(redis_url: str, directory: Path) -> dict[str, str]:
    cluster = {"KEYTURN_BROKER_URL": "none"} if "+cluster" in redis_url else {}
    return cluster | {
        "KEYTURN_REDIS_URL": redis_url,
        "KEYTURN_SECRET_KEYS": SECRET,
        "KEYTURN_DATA_DIR": str(directory),
    }
