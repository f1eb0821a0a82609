"""The side that sends; it takes no calls."""

import shared  # noqa: F401 - first: how structlog is loaded
