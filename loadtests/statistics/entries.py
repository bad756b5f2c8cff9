"""LLM measures as entries of Locust's own statistics, so that its CSV, HTML and web page show them.

Locust gives each entry a count, a rate per second and a distribution that it prints as
milliseconds. The entries are written directly, not through its `request` event: "Aggregated" then
goes on to count requests and nothing else.

| type | name | distribution | Requests/s |
|---|---|---|---|
| LLM | TTFT | milliseconds to the first non-empty token | completed requests per second |
| LLM | TPOT | milliseconds per output token after the first | |
| LLM | ITL | milliseconds between events with text | events with text per second |
| LLM | stream tokens/s | tokens/s of one stream (not milliseconds) | |
| LLM | output tokens | none | output tokens per second |
| SLO | goodput | e2e milliseconds of requests within the SLO | goodput |
| SLO | missed | e2e milliseconds of completed requests outside it | |
| LOAD | client lag | milliseconds that the client sent late | requests sent per second |
"""

from __future__ import annotations

from typing import Any, Protocol

from loadtests.statistics.record import Outcome, RequestRecord, Slo


class StatsEntry(Protocol):
    """What we use of `locust.stats.StatsEntry`."""

    def log(self, response_time: Any, content_length: int) -> None: ...


class RequestStats(Protocol):
    """What we use of `locust.stats.RequestStats`."""

    def get(self, name: str, method: str) -> StatsEntry: ...


def three_digits(value: float) -> float:
    """How finely Locust's histograms keep a value; its own two digits are too few for TPOT."""
    return float(f"{value:.3g}")


class LlmEntries:
    """Writes each request's measures into `stats`."""

    def __init__(self, stats: RequestStats, slo: Slo) -> None:
        self._stats = stats
        self._slo = slo

    def add(self, record: RequestRecord) -> None:
        self._log("LOAD", "client lag", record.lag_ms)
        if record.outcome is not Outcome.COMPLETED:
            return
        self._log("LLM", "TTFT", record.ttft_ms)
        self._log("LLM", "TPOT", record.tpot_ms)
        self._log("LLM", "stream tokens/s", record.tokens_per_s)
        for gap_ms in record.gaps_ms:
            self._log("LLM", "ITL", gap_ms)
        tokens = self._stats.get("output tokens", "LLM")
        for _ in range(record.output_tokens):
            tokens.log(None, 0)
        verdict = "goodput" if self._slo.is_met_by(record) else "missed"
        self._log("SLO", verdict, record.e2e_ms)

    def _log(self, kind: str, name: str, value: float | None) -> None:
        if value is not None:
            self._stats.get(name, kind).log(value, 0)
