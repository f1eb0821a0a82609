"""The bench still runs; what it measures is nobody's assertion here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import CHECKOUT

pytest.importorskip("psutil", reason="comes with the extra `bench`")


def run(measure):
    """The rows of a short run."""
    options = ("--quick", "--seconds", "0.3", "--users", "400")
    command = [sys.executable, "-m", "bench", *options, measure]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["name"]: row["value"] for row in json.loads(done.stdout.splitlines()[-1])["rows"]}


@pytest.mark.real_server
def test_a_short_run_prints_every_row_as_json():
    rows = run("latency")

    assert rows["call → provider: never arrived"] == 0
    assert rows["call → provider: p50"] > 0


@pytest.mark.real_server
def test_a_short_run_sends_a_batch_to_its_end():
    rows = run("batch")

    assert rows["batch: calls that never arrived"] == 0
    assert rows["batch: … together"] > 0
    assert rows["batch: recipients in all"] > 0
