"""Logs of the worker's tests: whatever a delivery says is kept, and searched for secrets."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from shared.log import _format_error

SECRETS = ("ada@", "example.com", "+4179", "791234567", "Lovelace", "https://")


@pytest.fixture
def logs(caplog):
    """What was logged by structlog; afterwards no line of any log may hold an address or a link."""
    caplog.set_level(logging.DEBUG)
    steps = [structlog.contextvars.merge_contextvars, _format_error]
    with capture_logs(processors=steps) as lines:
        yield lines
    said = repr(lines) + caplog.text
    assert [secret for secret in SECRETS if secret in said] == []
