"""Serve /livez, /readyz and /metrics, without a token; they hold no personal data."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.errors import StoreUnavailableError
from shared.models import Queue
from shared.settings.types import BrokerKind
from web.http import current_services
from web.monitoring.metrics import render_metrics

health = Blueprint("health", __name__)


@health.get("/livez")
def livez() -> Response:
    """Answer: the process is alive."""
    return Response(b'{"status":"ok"}', mimetype="application/json")


@health.get("/readyz")
def readyz() -> Response:
    """Answer 200 if Redis and a worker are there, else 503 with what is missing.

    Without the broker the answer is 200 and `degraded`: workers do without it.
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
    if services.settings.broker_kind is BrokerKind.NONE:
        checks["broker"] = "none"
    elif not services.hints.is_connected():
        checks["broker"] = "does not answer"
    is_ready = checks["redis"] == checks["worker"] == "ok"
    status = "degraded" if checks["broker"] == "does not answer" else "ok"
    body = {"status": status if is_ready else "unavailable", "checks": checks}
    return Response(orjson.dumps(body), 200 if is_ready else 503, mimetype="application/json")


@health.get("/metrics")
def metrics() -> Response:
    """Answer in Prometheus's text format; every process answers the same."""
    text = render_metrics(current_services())
    return Response(text, content_type=CONTENT_TYPE_LATEST)
