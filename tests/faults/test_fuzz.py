"""The fuzz run: every target starts, and a parser that does something else is found."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import CHECKOUT

pytest.importorskip("atheris")

FAULTY = """
import sys
import faults.fuzz as fuzz
fuzz.validation.phone = lambda text: text + "0"
fuzz.atheris.Setup([sys.argv[0], *sys.argv[1:]], fuzz.TARGETS["phones"])
fuzz.atheris.Fuzz()
"""


def run(folder, *command):
    return subprocess.run(
        [sys.executable, *command, "-runs=300", f"-artifact_prefix={folder}/"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_every_target_takes_its_seeds():
    seeds = (
        "import faults.fuzz as fuzz\n"
        "assert set(fuzz.SEEDS) == set(fuzz.TARGETS)\n"
        "for name, seeds in fuzz.SEEDS.items():\n"
        "    for seed in (*seeds, b'', b'\\0', b'\\xff' * 99):\n"
        "        fuzz.TARGETS[name](seed)\n"
        "print('all', len(fuzz.SEEDS))"
    )
    command = [sys.executable, "-c", seeds]  # a process of its own: its imports are instrumented

    ended = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300
    )

    assert ended.stdout.endswith("all 7\n"), ended.stderr[-2000:]


def test_a_target_runs(tmp_path):
    ended = run(tmp_path, "-m", "faults.fuzz", "lists")

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Done 300 runs" in ended.stderr


def test_a_broken_promise_is_found(tmp_path):
    ended = run(tmp_path, "-c", FAULTY)

    assert ended.returncode != 0
    assert "it is not taken again unchanged" in ended.stdout + ended.stderr
