"""Set up structured logs and list their events; no secret or address is logged."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from threading import Lock
from typing import Any, TextIO

import orjson
import structlog

EVENTS = {
    "reset.requested": "a reset was recorded; the caller got its 200",
    "reset.repeated": "the same Idempotency-Key asked again; nothing new was recorded",
    "reset.limited": "a limit refused a reset",
    "sms.suspicious": "a rule of SMS has found something: which, its level, a prefix or a source",
    "reset.unmatched": "the page asked for a fresh message and nothing could be recorded",
    "reset.completed": "the password was changed with a code",
    "reset.settled": "a reset reached its end without an attempt",
    "password.changed": "the password was changed without a code",
    "passwords.unasked": "the service of leaked passwords did not answer; the password was taken",
    "code.refused": "a code was wrong, used, voided or expired",
    "codes.voided": "a hundred wrong codes: the typed code of a reset is void, its link works on",
    "text.unfilled": "a sentence of an organisation's own could not be filled; the built-in one"
    " stands in the message",
    "attempt.accepted": "a provider took the message",
    "attempt.deferred": "the provider did not take the message; another attempt is due",
    "attempt.doubtful": "the provider may have taken the message; it is looked up later",
    "attempt.refused": "a provider refused the message permanently",
    "circular.sent": "a bulk e-mail was sent; counts by outcome",
    "attempt.found": "a look-up found the message of a doubtful attempt",
    "claims.recalled": "claims whose answer was lost were released; the resets are due again",
    "attempt.stale": "the outcome came after the claim had ended and was not recorded",
    "provider.failed_over": "this attempt uses another provider than the last or the preferred one",
    "pause.released": "all that a pause made wait has been made due again",
    "circuit.opened": "a provider is not called for `seconds`: too many of its calls failed",
    "circuit.closed": "a provider whose circuit was open is called again as usual",
    "provider.unasked": "a doubtful attempt could not be looked up now",
    "reset.offered": "a reset did not arrive; a fresh one goes by the other channel",
    "reset.unoffered": "a reset did not arrive, and the other channel cannot be used; why",
    "receipt.applied": "a provider's report on a reset was applied; with the new status",
    "receipt.failed": "a provider's report was dropped by an error of ours",
    "callback.refused": "a callback was not signed by the provider, or no key is configured",
    "callback.unread": "a provider reported an unknown event; counted, not applied",
    "suppression.lifted": "an operator lifted a suppression; with the operator and the reason",
    "suppression.added": "a recipient is suppressed from now on",
    "batch.planned": "a batch is being planned; with the operator and the count",
    "batch.started": "a batch was started; with the operator",
    "batch.paused": "a batch was paused; with the operator",
    "batch.resumed": "a batch was resumed; with the operator",
    "batch.cancelled": "a batch was cancelled; with the operator",
    "batch.finished": "every reset of a batch has ended",
    "batch.list_lost": "the users of a batch have expired: it was paused too long",
    "batch.failed": "feeding a batch ended in an error of ours; the next sweep tries again",
    "directory.unavailable": "the user directory did not answer, or not as agreed; why",
    "directory.shut": "the user directory is not called for `seconds`: calls in a row failed",
    "password.hash_unknown": "a stored hash has a format nobody here knows: a wrong password",
    "forgot.answered": "a person who forgot the password was looked up; how many users it was",
    "forgot.postponed": "people who forgot wait: the store or the user directory did not answer",
    "forgot.dropped": "a request of a person who forgot is too old, or cannot be read",
    "forgot.failed": "a look-up ended in an error of ours; it is due again after its lease",
    "captcha.unchecked": "a captcha's maker did not say if a solution is right; nothing was taken",
    "issuer.unavailable": "the identity provider's keys could not be fetched; cached ones are used",
    "store.unavailable": "Redis did not answer or refused to write",
    "store.replaced": "Redis lost its data, or is another one: nothing is recorded or sent",
    "hints.dropped": "hints could not be published; the sweepers find the resets",
    "hint.unreadable": "messages in the broker were no hints and were dropped; how many",
    "broker.away": "hints do not arrive: this worker delivers what its own sweeps find due",
    "broker.back": "hints arrive again",
    "task.failed": "a task that ran without the broker failed",
    "sweep.failed": "a sweep failed; the next one tries again",
    "delivery.failed": "an attempt ended in an error of ours; the lease brings the reset back",
    "request.failed": "a request ended in an error of ours",
    "webhook.told": "a subscriber took a webhook",
    "webhook.deferred": "a subscriber did not take a webhook; another try is due",
    "webhook.dead": "a subscriber did not take a webhook at the last try; kept until replayed",
    "webhook.stopped": "a subscriber answered 410: its subscription is disabled",
    "webhook.failed": "a delivery ended in an error of ours; it is due again after its lease",
    "worker.unbuilt": "a worker could not be set up and ends",
    "worker.started": "a worker receives hints; it has been sweeping since it was set up",
    "worker.stopped": "a worker shut down gracefully",
    "process.started": "`up` started a process",
    "process.ended": "a process of `up` ended",
    "process.silent": "the web process no longer answers; `up` starts another",
    "settings.doubtful": "a setting is allowed but probably a mistake",
}

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
