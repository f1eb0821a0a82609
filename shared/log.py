"""Set up structured logs and list their events; no secret or address is logged."""

from __future__ import annotations

import logging
import sys
import time
import tomllib
from collections.abc import Callable, MutableMapping
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

import orjson
import structlog

EVENTS = tomllib.loads(Path(__file__).with_name("events.toml").read_text(encoding="utf-8"))

# By level: lines that a stranger can cause as often as it likes. Every other line is written.
LIMITED_EVENTS = {
    "info": ("code.refused", "reset.limited", "reset.unmatched", "reset.repeated"),
    "warning": ("callback.refused", "codes.voided", "text.unfilled"),
}
UNREAD = ("request_id", "source", "caller_id")  # left out where a person reads along
LINES_PER_MINUTE = 60  # of one event in one process


class LineLimit:
    """A structlog step that drops lines of LIMITED_EVENTS beyond so many a minute.

    Of those dropped in a minute, the 1st, 10th, 100th … are written, with their number as
    `left_out`; so is the number of all of them, with the first line of a later minute.
    """

    def __init__(
        self, *, most: int = LINES_PER_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`most` lines of an event are written in a minute; `clock` counts seconds."""
        self._most, self._clock, self._lock = most, clock, Lock()
        self._counts: dict[str, tuple[int, int]] = {}  # event → minute, lines in it

    def __call__(
        self, _logger: Any, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the event, or raise structlog.DropEvent."""
        name, minute = event.get("event", ""), int(self._clock() // 60)
        if name not in LIMITED_EVENTS.get(level, ()):
            return event
        with self._lock:
            last, lines = self._counts.get(name, (minute, 0))
            left_out = lines - self._most
            if last != minute:
                self._counts[name] = minute, 1
            else:
                self._counts[name] = minute, lines + 1
                left_out += 1
                if left_out > 0 and str(left_out).strip("0") != "1":  # no power of ten
                    raise structlog.DropEvent
        if left_out > 0:
            event["left_out"] = left_out
        return event


def set_up_logging(level: str, *, service: str, stream: TextIO = sys.stdout) -> None:
    """Write JSON lines, those of libraries included; on a terminal one line to read for each."""
    write = _to_line if stream.isatty() else _to_json
    shared_steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[LineLimit(), *shared_steps, _name_service(service), _format_error, write],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(stream.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_steps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_service(service),
                _format_error,
                lambda *step: write(*step).decode(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for verbose in ("celery", "kombu", "amqp", "urllib3", "_granian"):
        logging.getLogger(verbose).setLevel(logging.WARNING)


def _name_service(service: str) -> Any:
    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add


def _format_error(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its class and line: its text may contain secrets."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        event["error"] = type(error).__qualname__
        if frame is not None:
            event["error_place"] = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
    return event


def _to_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """Return the time, the service, what happened in words, and the facts; for a terminal."""
    name, level = str(event.pop("event", "")), event.pop("level", "info")
    mark = "" if level in ("info", "debug") else f"{level.upper()}: "
    at, service = str(event.pop("at", ""))[11:19], event.pop("service", "")
    facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in UNREAD)
    line = f"{at} {service:7} {mark}{name}: {EVENTS.get(name, '')} {facts}".replace(": :", ":")
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in line.rstrip()).encode()


def _to_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(event, default=str)
