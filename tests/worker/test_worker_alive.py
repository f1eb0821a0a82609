"""A worker's sign of life, which asks neither the broker nor Redis."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.waiting import wait_until
from tests.support.worker_process import WorkerProcess


@pytest.mark.real_server
def test_a_worker_touches_its_file_without_broker_and_redis_and_a_stopped_one_does_not(
    own_server, tmp_path
):
    server, path = own_server(), tmp_path / "alive"
    broker = "redis://127.0.0.1:1/0"
    options = ("urgent,receipts", "--alive-file", str(path))
    worker = WorkerProcess(tmp_path / "own.sock", *options, KEYTURN_BROKER_URL=broker)

    def touched() -> bool:
        path.unlink(missing_ok=True)
        wait_until(path.exists, what=f"a sign of life; {worker.log()}")
        return True

    try:
        assert touched()
        server.kill()
        assert touched()

        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        path.unlink(missing_ok=True)
        time.sleep(1)
        assert not path.exists()
    finally:
        worker.end()
