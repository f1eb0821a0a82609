"""What both sides use: models, store, providers, queue, settings."""

import sys

# structlog colours a terminal by rich where it finds it, and redis-py makes metrics by
# OpenTelemetry. Our lines are JSON, our metrics are our own, and every process would load them:
# 0.15 s of CPU and 8 MB.
absent = dict.fromkeys(
    ("rich", "better_exceptions", "opentelemetry.metrics", "opentelemetry.sdk.metrics")
)
if not {"structlog", "redis", *absent} & sys.modules.keys():
    sys.modules.update(absent)  # type: ignore[arg-type]  # None is Python's way to say: not there
    import redis  # noqa: F401
    import structlog  # noqa: F401

    for name in absent:
        del sys.modules[name]
