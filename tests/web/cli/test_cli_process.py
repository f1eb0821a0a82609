"""`keyturn` as a process: its exit status, and what goes where."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real_server


def test_what_is_done_ends_with_0_and_is_told_on_standard_output(run_process, services):
    done = run_process("reset", "send", "ada", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert services.resets.find(json.loads(done.stdout)["resetId"]).user_id == "ada"


def test_what_is_refused_ends_with_1_and_one_sentence(run_process):
    done = run_process("reset", "send", "nobody", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_use_ends_with_2(run_process):
    done = run_process("reset", "send")

    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: keyturn reset send" in done.stderr
