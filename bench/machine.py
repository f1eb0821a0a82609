"""The machine and the versions a figure belongs to; without them it says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("celery", "kombu", "redis", "hiredis", "flask", "granian", "marshmallow", "sendgrid")


def machine_facts(redis_info: dict[str, Any]) -> dict[str, str]:
    """What a reader needs to compare; `redis_info` is the server's own INFO."""
    server = redis_info.get("valkey_version") or redis_info["redis_version"]
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "server": f"{redis_info.get('server_name', 'redis')} {server}",
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "")
