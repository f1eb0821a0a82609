"""Serve /livez, /readyz and /metrics, without a token; they hold no personal data."""

from __future__ import annotations

from threading import Thread

import orjson
from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.errors import StoreUnavailableError
from shared.models import Queue
from shared.wiring import Hints
from web.http import current_services
from web.monitoring.metrics import render_metrics

BROKER_SECONDS = 1.0  # Kubernetes gives up on the whole answer soon after

health = Blueprint("health", __name__)


@health.get("/livez")
def livez() -> Response:
    """Answer: the process is alive."""
    return Response(b'{"status":"ok"}', mimetype="application/json")


@health.get("/readyz")
def readyz() -> Response:
    """Answer 200 if resets can be accepted: Redis alone decides; else 503 with what is missing.

    Without workers or the broker the answer is 200 and `degraded`: what was accepted is sent when
    workers are back, and workers do without the broker.
    """
    services = current_services()
    checks = {"redis": "ok", "broker": "ok", "worker": "ok"}
    try:
        services.digests.verify()
        if refusal := services.server.refusal():
            checks |= {"redis": refusal, "worker": "unknown"}
        elif not services.dues.workers_seen(Queue.URGENT):
            checks["worker"] = "none of the urgent queue was seen in the last 5 s"
    except StoreUnavailableError:
        is_replaced = services.digests.is_replaced
        checks["redis"] = "lost its data, or is another one" if is_replaced else "does not answer"
        checks["worker"] = "unknown"
    if not _broker_answers(services.hints):
        checks["broker"] = "does not answer"
    is_ready = checks["redis"] == "ok"
    status = "ok" if set(checks.values()) <= {"ok", "none"} else "degraded"
    body = {"status": status if is_ready else "unavailable", "checks": checks}
    return Response(orjson.dumps(body), 200 if is_ready else 503, mimetype="application/json")


def _broker_answers(hints: Hints) -> bool:
    """Return True if the broker answers in time; a slow one must not cost the caller's patience."""
    found: list[bool] = []
    asking = Thread(target=lambda: found.append(hints.is_connected()), daemon=True)
    asking.start()
    asking.join(BROKER_SECONDS)
    return found == [True]


@health.get("/metrics")
def metrics() -> Response:
    """Answer in Prometheus's text format; every process answers the same."""
    text = render_metrics(current_services())
    return Response(text, content_type=CONTENT_TYPE_LATEST)
