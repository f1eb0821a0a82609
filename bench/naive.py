"""The other side of the ratio: a Flask view as it is written in an afternoon.

It reads a token, writes one hash and calls `task.delay()`; no limit, no permission, no directory.
Served by the same granian with the same settings as ours: `python -m bench.naive`.
"""

from __future__ import annotations

import os
import uuid

import redis
from celery import Celery
from flask import Flask, jsonify, request

from shared.settings import load_settings
from web.__main__ import serve

QUEUE = "naive"
TOKENS = "naive:token:"


def build_naive_app(_parent_pid: int) -> Flask:
    settings = load_settings(os.environ)
    client = redis.Redis.from_url(settings.server_url, decode_responses=True)
    celery = Celery("naive", broker=settings.hint_url)
    celery.conf.update(task_ignore_result=True, task_default_queue=QUEUE)
    app = Flask(__name__)

    @celery.task
    def send_reset(reset_id: str) -> None:
        """Never runs here: the queue is emptied instead."""

    @app.post("/users/<user_id>/password/_reset")
    def reset(user_id: str):
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        caller = client.get(TOKENS + token)
        if caller is None:
            return jsonify(error="unknown token"), 401
        kind = (request.get_json(silent=True) or {}).get("type", "TYPE_EMAIL")
        reset_id = uuid.uuid4().hex
        client.hset(
            f"naive:reset:{reset_id}",
            mapping={"user": user_id, "caller": caller, "type": kind, "status": "queued"},
        )
        send_reset.delay(reset_id)
        return jsonify(resetId=reset_id)

    return app


if __name__ == "__main__":
    serve(load_settings(os.environ), build_naive_app)
