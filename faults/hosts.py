"""Hosts of a run: network namespaces that a bridge joins, each with a link to clients besides.

The run moves into a namespace of its own first, so nothing outlives it or meets another run's.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence

CLONE_NEWNET = 0x40000000
PEERS, CLIENTS = LINKS = ("peers", "clients")  # each a bridge; 10.99.0.N, 10.99.1.N


class Hosts:
    """Some hosts, numbered from 0; `links` of one can be cut."""

    def __init__(self, number: int) -> None:
        """Build them; by the main thread, before there is another.

        Raises:
            OSError: a tool is missing, or it is not allowed.
            subprocess.CalledProcessError: the kernel has no such links.
        """
        if not all(map(shutil.which, ("ip", "nsenter"))):
            raise OSError("ip or nsenter is missing")
        namespaces = [_enter_new_namespace() for _ in range(number)]
        os.close(_enter_new_namespace())  # the run's own
        _run("ip", "link", "set", "lo", "up")
        self._paths = [f"/proc/{os.getpid()}/fd/{each}" for each in namespaces]
        for link in LINKS:
            _run("ip", "link", "add", link, "type", "bridge")
            _run("ip", "link", "set", link, "up")
        _run("ip", "address", "add", "10.99.1.254/24", "dev", CLIENTS)
        _run("ip", "route", "add", "10.99.0.0/24", "dev", CLIENTS)
        for host, path in enumerate(self._paths):
            inside = self.command(host)
            _run(*inside, "ip", "link", "set", "lo", "up")
            for net, link in enumerate(LINKS):
                other = ("peer", "name", link, "netns", path)
                _run("ip", "link", "add", f"{link}{host}", "type", "veth", *other)
                _run("ip", "link", "set", f"{link}{host}", "master", link, "up")
                address = f"10.99.{net}.{host + 1}/24"
                _run(*inside, "ip", "address", "add", address, "dev", link)
                _run(*inside, "ip", "link", "set", link, "up")

    @staticmethod
    def address(host: int) -> str:
        """Where peers and clients find it."""
        return f"10.99.0.{host + 1}"

    def command(self, host: int) -> tuple[str, ...]:
        """What to write before a command that runs there."""
        return ("nsenter", f"--net={self._paths[host]}")

    @staticmethod
    def set_links(host: int, links: Sequence[str], state: str) -> None:
        """`down`: what is sent there or comes from there is lost; `up`: no more."""
        for link in links:
            _run("ip", "link", "set", f"{link}{host}", state)


def _enter_new_namespace() -> int:
    """Return a file descriptor that keeps it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace is not allowed")
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
