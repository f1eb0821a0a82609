"""The fault run in short: everything dies, nothing is lost, judged by the provider's ledger."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import CHECKOUT

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(1200)]


def run_faults(*arguments: str) -> tuple[int, dict[str, dict[str, object]], str]:
    """The exit status, the line of JSON, and all that was printed."""
    command = [sys.executable, "-m", "faults", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.stdout, said
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), said


def test_nothing_is_lost_whatever_dies():
    status, told, said = run_faults("--quick")

    assert not any(told["verdict"].values()), said
    assert status == 0
    assert told["figures"]["done"] == {
        "kill": 15, "kill_server": 2, "stop": 2, "freeze": 1, "fill": 1, "cut": 5,
    }  # fmt: skip


def test_processes_stop_in_order_under_load():
    status, told, said = run_faults("--stops", "3")

    assert not any(told["verdict"].values()), said
    assert status == 0
    assert told["figures"]["duplicates"] == {"sendgrid": 0, "twilio": 0}
    assert told["figures"]["slowest stop seconds"] < 35  # when `keyturn up` would kill it
