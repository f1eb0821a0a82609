from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shared.errors import SettingsError
from tests import CHECKOUT
from tests.support.directories import fill, sqlite_url, write_table

# A process of its own: worker.app listens to the signals of every Celery worker in its process.
ENDING = """
import sys, types
from worker.app import process
process.end(sender=types.SimpleNamespace(exitcode={exitcode}))
sys.exit(process.exit_status)
"""


@pytest.mark.parametrize(("exitcode", "status"), [(1, 1), (None, 0)], ids=["gave up", "in order"])
def test_a_worker_that_gave_up_says_so_to_whoever_restarts_it(exitcode, status):
    command = [sys.executable, "-c", ENDING.format(exitcode=exitcode)]

    done = subprocess.run(command, cwd=CHECKOUT, env=os.environ, capture_output=True, check=False)

    assert done.returncode == status, done.stderr.decode()


def test_a_worker_over_a_wrong_table_does_not_start(tmp_path):
    url = sqlite_url(tmp_path)
    fill(url)
    preset = write_table(tmp_path)
    preset.write_text(preset.read_text().replace('"mail"', '"meil"'))
    environ = {
        **os.environ, "KEYTURN_SECRET_KEYS": "k" * 40, "KEYTURN_REDIS_URL": "redis://127.0.0.1:1",
        "KEYTURN_DIRECTORY": "sql", "KEYTURN_DIRECTORY_URL": url,
        "KEYTURN_DIRECTORY_PRESET": str(preset),
    }  # fmt: skip
    command = [sys.executable, "-c", "from worker.app import process; process.set_up()"]

    done = subprocess.run(command, cwd=CHECKOUT, env=environ, capture_output=True, check=False)

    assert done.returncode == SettingsError.EXIT_STATUS
    assert b"no column meil (for email); the nearest is mail" in done.stderr
