"""/livez, /readyz and /metrics: open to anybody who can reach the port; they name nobody."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from shared.errors import StoreUnavailableError
from shared.models import Queue
from web.http import current_services
from web.monitoring.metrics import render_metrics

health = Blueprint("health", __name__)


@health.get("/livez")
def livez() -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', mimetype="application/json")


@health.get("/readyz")
def readyz() -> Response:
    """Redis and a worker answer: 200, else 503 with what is missing.

    A broker that is away is told and no reason to be taken out: workers do without it.
    """
    services = current_services()
    checks = {"redis": "ok", "broker": "ok", "worker": "ok"}
    try:
        if not services.dues.workers_seen(Queue.URGENT):
            checks["worker"] = "none of the urgent queue was seen in the last 5 s"
    except StoreUnavailableError:
        checks["redis"] = "does not answer"
        checks["worker"] = "unknown"
    if not services.hints.is_connected():
        checks["broker"] = "does not answer"
    is_ready = checks["redis"] == checks["worker"] == "ok"
    word = "ok" if checks["broker"] == "ok" else "degraded"
    body = {"status": word if is_ready else "unavailable", "checks": checks}
    return Response(orjson.dumps(body), 200 if is_ready else 503, mimetype="application/json")


@health.get("/metrics")
def metrics() -> Response:
    """Prometheus text; the same whichever process answers."""
    text, content_type = render_metrics(current_services())
    return Response(text, content_type=content_type)
