"""Traces: one from the call through the queue to the provider, where OpenTelemetry is switched on.

Off, a span is one look at a variable. On is `pip install 'keyturn[otel]'` and the standard
OTEL_EXPORTER_OTLP_ENDPOINT. The place in a trace travels in the reset's record, never in a task.
No span holds an address, a code, a path with an id, or the text of an error.
Source: https://www.w3.org/TR/trace-context/ (`traceparent`)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

import structlog

log = structlog.get_logger()

SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]
Facts: TypeAlias = Mapping[str, str | int | float | None]  # ids and words; None is left out


class Span:
    """A part of a trace; this one is the part of none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End it; of an error the type is kept and nothing else."""

    def note(self, facts: Facts) -> None:
        """Add facts; a name without a dot is one of ours."""

    def rename(self, name: str) -> None:
        """Say better what it is."""


NO_SPAN = Span()


class _Switch:
    """Whether this process traces."""

    tracing: _Tracing | None = None


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


def trace_by(provider: Any) -> None:
    """Trace by a provider of OpenTelemetry; None: not at all."""
    _Switch.tracing = _Tracing(provider) if provider is not None else None


def is_tracing() -> bool:
    """True while spans are worth a look at the store."""
    return _Switch.tracing is not None


def span(
    name: str,
    facts: Facts | None = None,
    *,
    parent: str | None = None,
    kind: Kind = "internal",
) -> Span:
    """A part of the trace that goes on here, else of the one that `parent` (traceparent) names."""
    tracing = _Switch.tracing
    return NO_SPAN if tracing is None else tracing.span(name, parent, kind, facts or {})


def traceparent() -> str | None:
    """The place in the trace that goes on here; None when none does."""
    tracing = _Switch.tracing
    return None if tracing is None else tracing.traceparent()


class _Tracing:
    """What needs OpenTelemetry's packages."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        self._trace = trace
        self._tracer = provider.get_tracer("keyturn")
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    def span(self, name: str, parent: str | None, kind: Kind, facts: Facts) -> Span:
        context = None
        if parent and not self._trace.get_current_span().get_span_context().is_valid:
            context = self._propagator.extract({"traceparent": parent})
        opened = _OpenSpan(
            self._tracer.start_as_current_span(
                name,
                context=context,
                kind=self._trace.SpanKind[kind.upper()],
                record_exception=False,
                set_status_on_exception=False,
            ),
            self._trace.StatusCode.ERROR,
        )
        opened.first_facts = facts
        return opened

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")


class _OpenSpan(Span):
    """A span that is kept."""

    def __init__(self, opening: Any, error: Any) -> None:
        self._opening, self._error = opening, error
        self.first_facts: Facts = {}

    def __enter__(self) -> Self:
        self._span = self._opening.__enter__()
        self.note(self.first_facts)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._span.set_attribute("error.type", kind.__qualname__)
            self._span.set_status(self._error)
        self._opening.__exit__(kind, *rest)

    def note(self, facts: Facts) -> None:
        for name, value in facts.items():
            if value is not None:
                self._span.set_attribute(name if "." in name else f"keyturn.{name}", value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)
