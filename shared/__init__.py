"""What both sides use: models, store, providers, queue, settings."""

import sys

# structlog colours a terminal by rich where it finds it. Our lines are JSON, and every process
# would load rich and pygments with it: 0.1 s of CPU and 5 MB.
if not {"structlog", "rich"} & sys.modules.keys():
    absent = dict.fromkeys(("rich", "better_exceptions"))  # None is Python's way to say: not there
    sys.modules.update(absent)  # type: ignore[arg-type]
    import structlog  # noqa: F401

    for name in absent:
        del sys.modules[name]
