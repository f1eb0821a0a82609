"""Children of `up`, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS, wait_until
from web.up.supervisor import Child, StartRefusedError, build_children, stop_together

SLEEP = "import time; time.sleep(60)"
DEAF = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
)


@pytest.fixture
def a_child():
    """Makes children that run a line of Python; what is left of them is killed after the test."""
    made = []

    def make(program, name="child", **options):
        command = (sys.executable, "-c", program)
        made.append(Child(name, command, environ=dict(os.environ), **options))
        return made[-1]

    yield make
    for child in made:
        child.kill()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_died_is_started_again_after_a_pause(a_child):
    child = a_child(SLEEP)
    child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first))

    child.restart_if_ended()
    at_once = child.pid
    time.sleep(0.25)
    child.restart_if_ended()

    assert at_once is None
    assert child.pid not in (None, first)


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(a_child, tmp_path):
    starts = []
    child = a_child("raise SystemExit(1)", prepare=lambda: starts.append(time.monotonic()))
    child.start()

    while len(starts) < 4:
        child.restart_if_ended()
        time.sleep(0.005)

    pauses = [b - a for a, b in pairwise(starts)]
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.4
    assert pauses[2] >= 0.8


def test_a_child_has_a_process_group_of_its_own(a_child):
    child = a_child(SLEEP)
    child.start()

    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


def test_stopping_asks_first(a_child, tmp_path):
    done = tmp_path / "done"
    program = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(15, lambda *_: (pathlib.Path({str(done)!r}).touch(), sys.exit()))\n"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\n"
        "time.sleep(60)"
    )
    child = a_child(program)
    child.start()
    wait_until((tmp_path / "up").exists)

    stop_together([child], is_forced=lambda: False)

    assert done.exists()
    assert child.pid is None


def test_who_does_not_stop_is_killed_when_its_time_is_over(a_child):
    child = a_child(DEAF, stop_seconds=0.2)
    child.start()
    pid = child.pid
    time.sleep(0.2)

    stop_together([child], is_forced=lambda: False)

    assert not is_alive(pid)


def test_force_does_not_wait(a_child):
    child = a_child(DEAF, stop_seconds=60)
    child.start()
    time.sleep(0.2)
    started_at = time.monotonic()

    stop_together([child], is_forced=lambda: True)

    assert time.monotonic() - started_at < SLACK_SECONDS


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    program = (
        "import os, sys, time, pathlib\n"
        "from web.up.supervisor import Child\n"
        f"child = Child('c', (sys.executable, '-c', {SLEEP!r}), environ=dict(os.environ))\n"
        "child.start()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    time.sleep(0.2)

    parent.kill()
    parent.wait()

    wait_until(lambda: not is_alive(pid))


def test_a_child_whose_parent_has_gone_does_not_start(tmp_path):
    child = Path("web/up/child.py").resolve()
    command = [sys.executable, str(child), "1", sys.executable, "-c", "print('started')"]

    ended = subprocess.run(command, capture_output=True, check=False, timeout=HANG_SECONDS)

    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == b""


def test_up_looks_after_what_the_procfile_names(tmp_path):
    (tmp_path / "Procfile").write_text(
        "web: python -m web\n\nmore: python -m worker --queues bulk\n"
        "flower: celery --app web.up.flower flower --conf=deploy/flowerconfig.py\n"
    )

    children = build_children({}, tmp_path)

    assert [(each.name, each._command[1:], each.stop_seconds) for each in children] == [
        ("web", ("-m", "web"), 35),
        ("more", ("-m", "worker", "--queues", "bulk"), 45),
        (
            "flower",
            ("-m", "celery", "--app", "web.up.flower", "flower",
             f"--conf={tmp_path}/deploy/flowerconfig.py"),
            5,
        ),
    ]  # fmt: skip
    assert {each._command[0] for each in children} == {sys.executable}


def test_up_says_what_to_do_where_there_is_no_procfile(tmp_path):
    with pytest.raises(StartRefusedError, match=r"no Procfile in .*runs from a checkout"):
        build_children({}, tmp_path)
