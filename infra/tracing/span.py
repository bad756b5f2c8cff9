"""Spans of this process, timed by the monotonic clock, under whatever span is current."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

Attributes = Mapping[str, str | int]
"""E.g. the ids that a line of the log carries; in spans `tamer.` stands before each name."""


def now_ns() -> int:
    """The clock of all spans. On Linux every process of a machine reads the same one."""
    return time.monotonic_ns()


class Recording:
    """Whether spans are recorded, and by whom; `setup.start_tracing` turns it on."""

    tracer: ClassVar[Tracer | None] = None
    clock_offset_ns: ClassVar[int] = 0
    """Epoch time minus `now_ns()`: what a span's times have in addition."""


def is_recording() -> bool:
    return Recording.tracer is not None


@contextmanager
def span(name: str, attributes: Attributes | None = None) -> Iterator[None]:
    """What happens within is a span, and the parent of spans that begin within."""
    if Recording.tracer is None or _is_left_out():
        yield
        return
    with _current(_start(Recording.tracer, name, now_ns(), None, attributes)):
        yield


@contextmanager
def request_span(name: str, began_ns: int, caller: str, attributes: Attributes) -> Iterator[Span]:
    """The span of a request that is served here; only where `is_recording()`.

    `caller` is the client's W3C `traceparent`, empty where it sent none. The route is known at the
    end only: whoever knows it updates the name of the span that this gives.
    """
    from opentelemetry.trace import SpanKind

    assert Recording.tracer is not None
    context = _context(caller) if caller else None
    begun = _start(Recording.tracer, name, began_ns, context, attributes, SpanKind.SERVER)
    with _current(begun):
        yield begun


def record(
    name: str, began_ns: int, ended_ns: int, parent: str = "", attributes: Attributes | None = None
) -> None:
    """A span that is over. `parent` is a `traceparent`; empty: the current span."""
    if Recording.tracer is None or (not parent and _is_left_out()):
        return
    context = _context(parent) if parent else None
    done = _start(Recording.tracer, name, began_ns, context, attributes)
    done.end(ended_ns + Recording.clock_offset_ns)


def traceparent() -> str:
    """The current span as W3C Trace Context writes it; empty where it is not recorded."""
    if Recording.tracer is None or _is_left_out():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def _is_left_out() -> bool:
    """Whether the sampler has decided against the trace that we are in."""
    from opentelemetry.trace import get_current_span

    current = get_current_span()
    return current.get_span_context().is_valid and not current.is_recording()


def _start(
    tracer: Tracer,
    name: str,
    began_ns: int,
    context: Context | None,
    attributes: Attributes | None,
    kind: SpanKind | None = None,
) -> Span:
    from opentelemetry.trace import SpanKind

    known = {f"tamer.{key}": value for key, value in (attributes or {}).items() if value != ""}
    return tracer.start_span(
        name,
        context,
        kind or SpanKind.INTERNAL,
        known,
        start_time=began_ns + Recording.clock_offset_ns,
    )


@contextmanager
def _current(begun: Span) -> Iterator[None]:
    from opentelemetry.trace import use_span

    try:
        with use_span(begun):
            yield
    finally:
        begun.end(now_ns() + Recording.clock_offset_ns)


def _context(parent: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
