"""The bench still runs; what it measures is nobody's assertion here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="comes with the extra `bench`")


@pytest.mark.real_server
def test_a_short_run_prints_every_row_as_json():
    command = [sys.executable, "-m", "bench", "--quick", "--seconds", "0.3", "latency"]

    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["name"]: row["value"] for row in json.loads(done.stdout.splitlines()[-1])["rows"]}
    assert rows["call → provider: never arrived"] == 0
    assert rows["call → provider: p50"] > 0
