"""The gRPC process: what it does while it stops, without its store, and with bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.errors import SettingsError
from tests import CHECKOUT
from tests.journeys.stack import free_ports
from tests.support.builders import SECRET
from tests.support.rpc import V1, Notification, RpcCaller
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS, wait_until
from tests.support.wire import Wire

pytestmark = pytest.mark.real_server


@contextmanager
def a_process(tmp_path, **settings):
    """`python -m web.rpc` by itself, as the Procfile starts it."""
    port = free_ports(1)[0]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
    environ = inherited | {
        "KEYTURN_GRPC_PORT": str(port),
        "KEYTURN_DATA_DIR": str(tmp_path),
        "KEYTURN_SECRET_KEYS": SECRET,
        **settings,
    }
    command = [sys.executable, "-m", "web.rpc"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        target = f"127.0.0.1:{port}"
        try:
            wait_until(lambda: is_serving(target) or process.poll() is not None, what="gRPC")
            yield process, target
        finally:
            process.kill()


def is_serving(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            asked = health_pb2.HealthCheckRequest()
            return health_pb2_grpc.HealthStub(channel).Check(asked, timeout=1).status == 1
        except grpc.RpcError:
            return False


@pytest.fixture
def caller(keyturn):
    running = RpcCaller(keyturn.grpc_target, keyturn.token)
    yield running
    running.channel.close()


def test_calls_in_flight_are_answered_while_the_server_stops(start_keyturn):
    keyturn = start_keyturn(
        KEYTURN_USER_COOLDOWN_SECONDS="0",
        KEYTURN_USER_LIMIT_PER_HOUR="0",
        KEYTURN_USER_LIMIT_PER_DAY="0",
    )
    caller = RpcCaller(keyturn.grpc_target, keyturn.token)
    caller.notify()

    calls = [caller.start(V1, Notification(user_id="ada"), timeout=60) for _ in range(200)]
    wait_until(lambda: any(call.done() for call in calls), what="a first answer")
    os.kill(keyturn.pid_of("grpc"), signal.SIGTERM)

    assert Counter(call.code() for call in calls) == {grpc.StatusCode.OK: 200}
    caller.channel.close()


def test_without_its_store_it_starts_and_says_unavailable_in_time(tmp_path, fake_client):
    token = Wire(fake_client).token
    with a_process(tmp_path, KEYTURN_REDIS_URL="redis://127.0.0.1:1/0") as (process, target):
        caller = RpcCaller(target, token)
        started_at = time.monotonic()

        refused = caller.refusal(V1, Notification(user_id="ada"))

        assert refused == (grpc.StatusCode.UNAVAILABLE, "KEYTURN-Unavailable")
        assert time.monotonic() - started_at < 5 + SLACK_SECONDS
        caller.channel.close()
        process.terminate()
        assert process.wait(HANG_SECONDS) == 0


def test_a_wrong_setting_is_a_sentence(tmp_path):
    with a_process(tmp_path, KEYTURN_WEB_THREADS="many") as (process, _):
        said = process.stdout.read().decode()

        assert process.wait(HANG_SECONDS) == SettingsError.EXIT_STATUS
        assert said.startswith("keyturn grpc: KEYTURN_WEB_THREADS")
        assert "Traceback" not in said


def test_noise_on_the_port_harms_nobody(keyturn, caller):
    import socket

    host, port = keyturn.grpc_target.split(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b""):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(noise)

    assert caller.notify()[0].details.resource_owner == "demo"
