"""Log lines: JSON in a pipe, a line to read on a terminal."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from shared.log import set_up_logging


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def as_before():
    before = structlog.get_config()
    structlog.contextvars.clear_contextvars()  # what other tests bound in this thread
    yield
    structlog.configure(**before)


def written(stream_class):
    stream = stream_class(io.BytesIO())
    set_up_logging("info", service="web", stream=stream)
    log = structlog.get_logger()
    log.warning("attempt.refused", provider="outbox", attempt=2, request_id="abc")
    log.info("reset.limited", limit="a\x1b[31m\nb")
    return stream.buffer.getvalue().decode().splitlines()


def test_a_pipe_gets_json():
    first = json.loads(written(io.TextIOWrapper)[0])

    assert first["event"] == "attempt.refused"
    assert first["request_id"] == "abc"


def test_a_terminal_gets_one_line_to_read_for_each_event():
    refused, limited = written(Terminal)

    assert refused[8:] == (
        " web     WARNING: attempt.refused: a provider refused the message permanently"
        " provider=outbox attempt=2"
    )
    assert "\x1b" not in limited
    assert "a limit refused a reset limit=a" in limited
