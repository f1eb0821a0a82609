"""Keep request ids, and make spans from the call to the provider if OpenTelemetry is on.

On is `pip install 'keyturn[otel]'` and the standard OTEL_EXPORTER_OTLP_ENDPOINT. The place in a
trace travels in the reset's record, never in a task.
No span holds an address, a code, a path with an id, or the text of an error.
Source: https://www.w3.org/TR/trace-context/ (`traceparent`)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import structlog

if TYPE_CHECKING:  # processes that do not trace start faster without it
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = structlog.get_logger()

SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Attributes: TypeAlias = Mapping[str, str | int | None]  # ids and words; None is left out


SpanKind = StrEnum("SpanKind", "INTERNAL SERVER CLIENT CONSUMER")  # as OpenTelemetry's


class NoSpan:
    """The span of a process that does not trace."""

    def set_attribute(self, _name: str, _value: str | int) -> None:
        """Do nothing."""


class _Switch:
    """Whether this process traces: off, nothing of a caller's trace is recorded either."""

    tracer: Tracer | None = None


def set_up_tracing(service: str, environ: Mapping[str, str]) -> bool:
    """Trace from now on, where the environment asks for it; True when it does."""
    if not any(environ.get(name) for name in SWITCHES):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        why = "OTEL_EXPORTER_OTLP_ENDPOINT is set, nothing is traced: pip install 'keyturn[otel]'"
        log.warning("settings.doubtful", why=why)
        return False
    name = environ.get("OTEL_SERVICE_NAME") or f"keyturn-{service}"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace_by(provider)
    return True


def trace_by(provider: TracerProvider | None) -> None:
    """Trace by a provider of OpenTelemetry; None: not at all."""
    _Switch.tracer = provider.get_tracer("keyturn") if provider else None


def is_tracing() -> bool:
    """True while spans are worth a look at the store."""
    return _Switch.tracer is not None


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span | NoSpan]:
    """Open a span of the present trace, else of the one that `parent` (traceparent) names.

    `attributes` become attributes `keyturn.<name>`. Of an error the type is kept and nothing else.
    """
    if _Switch.tracer is None:
        yield NoSpan()
        return
    from opentelemetry import trace  # noqa: PLC0415

    is_inside = trace.get_current_span().get_span_context().is_valid
    with _Switch.tracer.start_as_current_span(
        name,
        None if is_inside or not parent else _propagator().extract({"traceparent": parent}),
        trace.SpanKind[kind.name],
        {f"keyturn.{key}": value for key, value in (attributes or {}).items() if value is not None},
        record_exception=False,
        set_status_on_exception=False,
    ) as here:
        try:
            yield here
        except BaseException as error:
            here.set_attribute("error.type", type(error).__qualname__)
            here.set_status(trace.StatusCode.ERROR)
            raise


def traceparent() -> str | None:
    """Return the traceparent of the present span; None without one."""
    carrier: dict[str, str] = {}
    if is_tracing():
        _propagator().inject(carrier)
    return carrier.get("traceparent")


def _propagator() -> TraceContextTextMapPropagator:
    from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

    return tracecontext.TraceContextTextMapPropagator()


def current_request_id() -> str | None:
    """Return the id of the request being answered, bound by bind_request_id."""
    return bound("request_id")


def bound(name: str) -> str | None:
    """Return a value of the request being answered; None if it is not bound.

    `request_id`; `source`, a network or the login at a command; `caller_id`, a token's id, `page`
    or `shell`; `user`, a digest.
    """
    value: str | None = structlog.contextvars.get_contextvars().get(name)
    return value


def bind_request_id(request_id: str, *, source: str | None = None) -> None:
    """Give every log line and record from here on this request id and source, and no other."""
    structlog.contextvars.clear_contextvars()
    bind_context(request_id=request_id, **({"source": source} if source else {}))


def bind_context(**values: str) -> None:
    """Add values to every log line and record of this request; `bound` names them."""
    structlog.contextvars.bind_contextvars(**values)
