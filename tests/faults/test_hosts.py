"""Hosts of a fault run: what is cut, from whom, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import CHECKOUT

pytestmark = pytest.mark.real_server

# In a process of its own, for it moves into another network namespace.
SCRIPT = """
import json, os, signal, socket, subprocess, sys, time
from faults.hosts import CLIENTS, LINKS, PEERS, Hosts

hosts = Hosts(2)
serving = "import socket as s; l = s.create_server(('', 7)); print(flush=True); l.listen()"
serving += "; import time; time.sleep(600)"  # the kernel accepts
dial = f"import socket as s; s.create_connection(('{hosts.address(0)}', 7), 0.3)"
start = [*hosts.command(0), sys.executable, "-c", serving]
server = subprocess.Popen(start, stdout=subprocess.PIPE)
server.stdout.readline()

def reach():
    commands = ([], hosts.command(1))
    ends = [subprocess.run([*c, sys.executable, "-c", dial], stderr=-3) for c in commands]
    return [not end.returncode for end in ends]

found = [reach()]
for links in (LINKS, (PEERS,), (CLIENTS,)):
    hosts.set_links(0, links, "down")
    found.append(reach())
    hosts.set_links(0, links, "up")
    found.append(reach())
server.kill()
print(json.dumps(found), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and ip")
def test_clients_and_peers_are_cut_off_apart_and_nothing_is_left():
    def links():
        return subprocess.run(["ip", "-o", "link"], capture_output=True, check=True).stdout

    before = links()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if "not allowed" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])

    whole = [True, True]
    expected = [whole, [False, False], whole, [True, False], whole, [False, True], whole]
    assert json.loads(done.stdout or "0") == expected, done.stderr
    assert links() == before
