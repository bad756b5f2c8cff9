"""Gauges whose series are replaced together: what has gone is gone from the next scrape."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.metrics.registry import PREFIX, REGISTRY

Series = Mapping[tuple[str, ...], float]
"""Values by their label values, in the order of the gauge's labels."""


class SnapshotGauge(Collector):
    """Changed by one thread, scraped by any: each scrape sees one whole snapshot."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        self._name = PREFIX + name
        self._documentation = documentation
        self._labels = labels
        self._parts: Mapping[str, Series] = {}
        """By their first label."""
        REGISTRY.register(self)

    def replace(self, series: Series) -> None:
        parts: dict[str, dict[tuple[str, ...], float]] = {}
        for key, value in series.items():
            parts.setdefault(key[0], {})[key] = value
        self._parts = parts

    def replace_of(self, first: str, series: Series) -> None:
        """Replace only the series whose first label has this value."""
        self._parts = {**self._parts, first: dict(series)}

    def keep_only(self, firsts: Collection[str]) -> None:
        """Drop the series whose first label has another value than these."""
        self._parts = {first: each for first, each in self._parts.items() if first in firsts}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for series in self._parts.values():
            for labels, value in series.items():
                family.add_metric(labels, value)
        yield family
