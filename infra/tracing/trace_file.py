"""Spans as lines of OTLP/JSON, as OpenTelemetry's file exporter writes them and its collector reads
them: for a machine without a collector, and for benchmarks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from infra.telemetry import logger

_log = logger(__name__)
_OWNER_ONLY = 0o600


class TraceFile(SpanExporter):
    """Several processes may append to one file: a batch is one line and one write."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: it cannot be written to.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            os.write(self._file, msgspec.json.encode(otlp(spans)) + b"\n")
        except OSError as error:
            _log.warning("spans cannot be written", error=str(error))
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        os.close(self._file)


def otlp(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Spans of one process as the JSON form of OTLP's `TracesData`."""
    resource = spans[0].resource.attributes if spans else {}
    scoped = {"scope": {"name": "tamer"}, "spans": [_span(each) for each in spans]}
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scoped]}
        ]
    }


def _span(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "parentSpanId": "" if parent is None else f"{parent.span_id:016x}",
        "name": span.name,
        "kind": span.kind.value + 1,  # OTLP counts from "unspecified"
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value},
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
