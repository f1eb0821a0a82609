"""/livez and /readyz: what takes a web process out of the balance, and what does not."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support.builders import some_services
from web.app import create_app
from web.monitoring import health


@pytest.fixture
def services(fake_client):
    services = some_services(fake_client)
    services.digests.digest("start", "")
    return services


def ready(services):
    answer = create_app(services).test_client().get("/readyz")
    return answer.status_code, answer.get_json()


def test_everything_there_is_ready(services):
    services.dues.heartbeat("urgent,receipts of the test")

    ok = {"redis": "ok", "broker": "ok", "worker": "ok"}
    assert ready(services) == (200, {"status": "ok", "checks": ok})


@pytest.mark.parametrize("queues", [None, "bulk,webhooks of the test"])
def test_without_a_worker_resets_are_accepted_all_the_same(services, queues):
    if queues:
        services.dues.heartbeat(queues)

    status, body = ready(services)

    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["redis"] == "ok"
    assert "none of the urgent queue" in body["checks"]["worker"]


def test_without_workers_and_broker_too(services, monkeypatch):
    monkeypatch.setattr(services.hints, "is_connected", lambda: False)

    status, body = ready(services)

    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["broker"] == "does not answer"


def test_a_broker_that_hangs_costs_no_web_process(services, monkeypatch):
    monkeypatch.setattr(health, "BROKER_SECONDS", 0.05)
    ended = threading.Event()
    monkeypatch.setattr(services.hints, "is_connected", lambda: ended.wait(30))
    began = time.monotonic()

    status, body = ready(services)
    ended.set()

    assert (status, body["checks"]["broker"]) == (200, "does not answer")
    assert time.monotonic() - began < 5


def test_without_redis_it_is_not_ready(services, fake_client):
    app = create_app(services).test_client()
    fake_client.flushall()

    answer = app.get("/readyz")

    assert answer.status_code == 503
    assert answer.get_json()["status"] == "unavailable"
    assert answer.get_json()["checks"] == {
        "redis": "lost its data, or is another one",
        "broker": "ok",
        "worker": "unknown",
    }
    assert app.get("/livez").status_code == 200
