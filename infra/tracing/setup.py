"""Where the spans of this process go: OpenTelemetry's variables name a collector, ours a file."""

from __future__ import annotations

import os
import time

from infra.build import build_name
from infra.extras import install_command
from infra.settings import Settings
from infra.telemetry import logger
from infra.tracing.span import Recording, now_ns

CLOCK_OFFSET = "tamer.clock_offset_ns"
"""Resource attribute: epoch time minus the monotonic clock, when the process began to record. Times
of two processes of one machine are compared without it, on the clock that they share."""
_EXPORT_LIMITS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
_EXPORT_LIMIT_S = 2.0
"""A process that ends waits this long for a collector that is away; OpenTelemetry's own 10 s are
as long as we give a process to stop."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_log = logger(__name__)


def start_tracing(process: str, settings: Settings) -> None:
    """Record spans from now on, where a collector or a file is named.

    A process that cannot be traced still does its work: it logs why, and what to do.
    """
    to_collector = _is_set(*_ENDPOINTS)
    if not (to_collector or settings.trace_file):
        return
    try:
        _record(process, settings, to_collector)
    except ImportError as error:
        _log.warning("no spans", error=str(error), remedy=install_command("tracing"))
    except OSError as error:
        _log.warning("no spans: TAMER_TRACE_FILE cannot be written to", error=str(error))


def _record(process: str, settings: Settings, to_collector: bool) -> None:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    Recording.clock_offset_ns = time.time_ns() - now_ns()
    # The rest is OpenTelemetry's: OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_*.
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.namespace": "tamer",
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or process,
                "service.version": build_name(),
                "process.pid": os.getpid(),
                CLOCK_OFFSET: Recording.clock_offset_ns,
            }
        )
    )
    if settings.trace_file:
        from infra.tracing.trace_file import TraceFile

        provider.add_span_processor(BatchSpanProcessor(TraceFile(settings.trace_file)))
    if to_collector:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        limit_s = None if _is_set(*_EXPORT_LIMITS) else _EXPORT_LIMIT_S
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=limit_s)))
    # Not the global provider: libraries would begin to record spans of their own.
    Recording.tracer = provider.get_tracer("tamer", build_name())
    _log.info("tracing", collector=to_collector, file=str(settings.trace_file or ""))


def _is_set(*variables: str) -> bool:
    return any(os.environ.get(name) for name in variables)
