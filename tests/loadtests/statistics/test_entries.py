from __future__ import annotations

from collections import defaultdict
from typing import Any

from loadtests.statistics.entries import LlmEntries, three_digits
from loadtests.statistics.record import Outcome, RequestRecord, Slo


class _Entry:
    """Keeps what it is told, as Locust's entry does."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def log(self, response_time: Any, content_length: int) -> None:
        self.values.append(response_time)


class _Stats:
    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], _Entry] = defaultdict(_Entry)

    def get(self, name: str, method: str) -> _Entry:
        return self.entries[(method, name)]

    @property
    def values(self) -> dict[tuple[str, str], list[Any]]:
        return {key: entry.values for key, entry in self.entries.items()}


COMPLETED = RequestRecord(
    "chat",
    Outcome.COMPLETED,
    0.0,
    1.0,
    ttft_ms=100.0,
    e2e_ms=120.0,
    gaps_ms=[5.0, 15.0],
    output_tokens=3,
)


def test_a_completed_request_is_in_every_entry() -> None:
    stats = _Stats()
    LlmEntries(stats, Slo(ttft_ms=100)).add(COMPLETED)
    assert stats.values == {
        ("LOAD", "client lag"): [0.0],
        ("LLM", "TTFT"): [100.0],
        ("LLM", "TPOT"): [10.0],
        ("LLM", "stream tokens/s"): [25.0],
        ("LLM", "ITL"): [5.0, 15.0],
        ("LLM", "output tokens"): [None, None, None],
        ("SLO", "goodput"): [120.0],
    }


def test_a_request_outside_the_slo_is_not_goodput() -> None:
    stats = _Stats()
    LlmEntries(stats, Slo(ttft_ms=99)).add(COMPLETED)
    assert ("SLO", "goodput") not in stats.values
    assert stats.values[("SLO", "missed")] == [120.0]


def test_a_failed_request_adds_no_latency() -> None:
    stats = _Stats()
    LlmEntries(stats, Slo()).add(RequestRecord("chat", Outcome.FAILED, 0.0, 1.0, ttft_ms=5.0))
    assert set(stats.values) == {("LOAD", "client lag")}


def test_histograms_keep_three_digits() -> None:
    assert [three_digits(value) for value in (0.12345, 12.345, 1234.5)] == [0.123, 12.3, 1230.0]
