"""How long calls take beside callers whose bodies stall or drip, direct and through HAProxy."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from bench.calls import Callers
from bench.figures import Row
from bench.processes import ROOT, free_port, is_listening, python_module, running
from bench.site import Site, drained
from shared.models import Queue

STALLED = (1, 9, 64, 300)
RATE_PER_SECOND = 40
MAX_RATIO = 3.0  # of p99, beside stalled bodies and at rest
DRIP_SECONDS = 1.0
PATHS = (
    "/management/v1/users/u1/password/_reset",
    "/ui/password/reset",
    "/callbacks/sendgrid",
    "/zitadel.user.v2.UserService/PasswordReset",
)
FRAMINGS = (b"Content-Length: 1000\r\n\r\na=", b"Transfer-Encoding: chunked\r\n\r\n2\r\na=\r\n")


def measure_stalled(site: Site, *, seconds: float) -> list[Row]:
    """p99 of calls at rest, and beside 1 to 300 stalled bodies, every other of them dripping."""
    port, proxy_port, rows = free_port(), free_port(), []
    haproxy = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    callers = Callers(site)
    with ExitStack() as stack:
        stack.enter_context(drained(site.client, *Queue))
        ports = {"direct": port} | ({"HAProxy": proxy_port} if haproxy else {})
        commands = {"direct": python_module("web")}
        commands["HAProxy"] = (haproxy, "-f", ROOT / "deploy" / "haproxy.cfg", "-db")
        for name, own_port in ports.items():
            environ = site.environment | {
                "KEYTURN_PORT": str(port),
                "KEYTURN_PUBLIC_BIND": f"127.0.0.1:{proxy_port}",
                "KEYTURN_WEB_SERVER": f"127.0.0.1:{port}",
                "KEYTURN_GRPC_SERVER": "127.0.0.1:9",
            }
            is_ready = partial(is_listening, own_port)
            stack.enter_context(
                running(*commands[name], is_ready=is_ready, env=environ, log=site.log)
            )
        time.sleep(3)  # until HAProxy has checked its server
        for name, own_port in ports.items():
            given = (own_port, "--rate", RATE_PER_SECOND, "--seconds", 4 * seconds)
            callers.call(*given)  # warms up
            for number in STALLED:
                rest = callers.call(*given)["p99_ms"]
                with _stalled(own_port, number):
                    beside = callers.call(*given)["p99_ms"]
                rows.append(
                    Row(
                        name=f"{name}: p99 beside {number} stalled: {beside:.0f} / {rest:.0f} ms",
                        value=beside / rest,
                        unit="",
                        most=MAX_RATIO,
                    )
                )
    return rows


@contextmanager
def _stalled(port: int, number: int) -> Iterator[None]:
    """So many stalled bodies at any time: one that was answered is begun anew."""
    is_over = threading.Event()
    thread = threading.Thread(target=_stall, args=(port, number, is_over))
    thread.start()
    try:
        time.sleep(DRIP_SECONDS)
        yield
    finally:
        is_over.set()
        thread.join()


def _stall(port: int, number: int, is_over: threading.Event) -> None:
    kinds = itertools.cycle(itertools.product(PATHS, FRAMINGS))
    lines = [_begin(port, *next(kinds)) for _ in range(number)]
    for at in itertools.cycle(range(number)):
        if is_over.wait(DRIP_SECONDS / number):
            break
        with suppress(BlockingIOError):  # no answer yet, which is what a stalled body waits for
            try:
                if at % 2:
                    lines[at].send(b"1\r\nb\r\n")
                if lines[at].recv(65536):
                    continue
            except ConnectionError:
                pass
            lines[at].close()
            lines[at] = _begin(port, *next(kinds))
    for line in lines:
        line.close()


def _begin(port: int, path: str, framing: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port))
    line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + framing)
    line.setblocking(False)
    return line
