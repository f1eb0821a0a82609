"""RabbitMQ and a server that answers as SQS, for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kombu import Connection

from faults.brokers import RABBITMQ, SLOW_START_SECONDS, RabbitNode, sqs_command, sqs_url
from faults.processes import is_listening
from tests.journeys.stack import free_ports
from tests.support.waiting import HANG_SECONDS, wait_until


@contextmanager
def rabbitmq() -> Iterator[RabbitNode]:
    """A node of its own, with a virtual host for each type of queue."""
    if not (RABBITMQ.exists() and shutil.which("epmd")):
        pytest.skip("rabbitmq-server is not installed (Debian's package of that name)")
    port, distribution_port, mapper_port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="keyturn-mq-") as folder, ExitStack() as stack:
        node = RabbitNode(
            Path(folder), port=port, distribution_port=distribution_port, mapper_port=mapper_port
        )
        node.prepare()
        for command in node.commands:
            stack.enter_context(_running(command, node.environ, Path(folder) / "out"))
        wait_until(lambda: _answers(node.url("quorum")), seconds=SLOW_START_SECONDS, what="a node")
        yield node


@contextmanager
def sqs() -> Iterator[str]:
    """The URL of a server without queues."""
    (port,) = free_ports(1)
    with (
        tempfile.TemporaryDirectory(prefix="keyturn-sqs-") as folder,
        _running(sqs_command(port), os.environ, Path(folder) / "out"),
    ):
        wait_until(lambda: is_listening(port), what="a server that answers as SQS")
        yield sqs_url(port)


def _answers(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=2) as connection:
            connection.connect()
    except (OSError, *Connection(url).connection_errors):
        return False
    return True


@contextmanager
def _running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG_SECONDS)
