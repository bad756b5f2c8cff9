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
        self._series: Series = {}
        REGISTRY.register(self)

    def replace(self, series: Series) -> None:
        self._series = dict(series)

    def replace_of(self, first: str, series: Series) -> None:
        """Replace only the series whose first label has this value."""
        others = {key: value for key, value in self._series.items() if key[0] != first}
        self._series = {**others, **series}

    def keep_only(self, firsts: Collection[str]) -> None:
        """Drop the series whose first label has another value than these."""
        self._series = {key: each for key, each in self._series.items() if key[0] in firsts}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._series.items():
            family.add_metric(labels, value)
        yield family
