from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import CHECKOUT

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
