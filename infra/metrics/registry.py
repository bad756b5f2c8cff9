"""The metrics of this process, all under one prefix, and how they are written out."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
PREFIX = "tamer:"
"""As vLLM's `vllm:`, so that dashboards made for it need one replacement."""

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


def counter(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
    """Shown as `tamer:<name>_total`."""
    return Counter(PREFIX + name, documentation, labels, registry=REGISTRY)


def gauge(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(PREFIX + name, documentation, labels, registry=REGISTRY)


def histogram(
    name: str, documentation: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
) -> Histogram:
    """`buckets` are upper bounds, rising, in the unit that the name ends with."""
    return Histogram(PREFIX + name, documentation, labels, registry=REGISTRY, buckets=buckets)


def render() -> bytes:
    """All metrics of this process in Prometheus' text format (`CONTENT_TYPE`)."""
    return generate_latest(REGISTRY)
