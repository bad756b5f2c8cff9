from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.statistics.log import MalformedLog, RecordLog, read_records
from loadtests.statistics.record import Outcome, RequestRecord, Slo
from loadtests.statistics.report import markdown
from loadtests.statistics.summary import percentile, spread, summarise


def _completed(sent_s: float, ttft_ms: float, tokens: int = 11) -> RequestRecord:
    e2e_ms = ttft_ms + 100.0
    return RequestRecord(
        "chat",
        Outcome.COMPLETED,
        sent_s,
        sent_s + e2e_ms / 1000,
        ttft_ms=ttft_ms,
        e2e_ms=e2e_ms,
        gaps_ms=[10.0] * (tokens - 1),
        prompt_tokens=5,
        output_tokens=tokens,
    )


def _ended(outcome: Outcome, error: str = "") -> RequestRecord:
    return RequestRecord("chat", outcome, 0.0, 0.5, output_tokens=3, error=error)


RECORDS = [
    _completed(0.0, 100),
    _completed(0.9, 1000),
    _ended(Outcome.FAILED, "503: full"),
    _ended(Outcome.FAILED, "503: full"),
    _ended(Outcome.UNFINISHED),
]


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 11)]
    assert [percentile(values, each) for each in (1, 50, 90, 91, 100)] == [1, 5, 9, 10, 10]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_exceeded_by_no_more_than_it_says(values: list[float], of: int) -> None:
    found = percentile(sorted(values), of)
    above = sum(value > found for value in values)
    below = sum(value < found for value in values)
    assert above * 100 <= (100 - of) * len(values)
    assert below * 100 < of * len(values)


def test_nothing_measured_has_no_spread() -> None:
    assert spread([None, None]) is None


def test_goodput_counts_requests_within_the_slo_over_the_whole_time() -> None:
    summary = summarise(RECORDS, Slo(ttft_ms=500))
    assert summary.duration_s == pytest.approx(2.0)
    assert summary.requests_per_s == pytest.approx(1.0)
    assert summary.goodput_per_s == pytest.approx(0.5)
    assert summary.output_tokens_per_s == pytest.approx(11.0)


def test_failures_count_against_the_attainment_but_what_was_cut_off_does_not() -> None:
    assert summarise(RECORDS, Slo(ttft_ms=500)).attainment == pytest.approx(1 / 4)


def test_who_waited_too_long_when_the_test_ended_has_missed_the_slo() -> None:
    """Else a server that answers one request of many would attain everything."""
    waiting = [RequestRecord("chat", Outcome.UNFINISHED, 0.0, 2.0) for _ in range(3)]
    late_start = RequestRecord("chat", Outcome.UNFINISHED, 0.0, 2.0, ttft_ms=1500.0)
    on_time = RequestRecord("chat", Outcome.UNFINISHED, 0.0, 2.0, ttft_ms=100.0)
    records = [_completed(0.0, 100), *waiting, late_start, on_time]
    summary = summarise(records, Slo(ttft_ms=1000))
    assert summary.attainment == pytest.approx(1 / 5)
    assert "5 requests were still unanswered" in markdown(summary, "t", {}, [])


def test_latencies_are_of_completed_requests() -> None:
    summary = summarise(RECORDS, Slo())
    assert summary.ttft_ms is not None and summary.ttft_ms.count == 2
    assert summary.tpot_ms is not None and summary.tpot_ms.mean == pytest.approx(10.0)
    assert summary.itl_ms is not None and summary.itl_ms.count == 20
    assert summary.errors == {"503: full": 2}


def test_no_records_make_an_empty_summary_and_not_a_crash() -> None:
    summary = summarise([], Slo())
    assert summary.goodput_per_s == 0.0
    assert "No request was completed" in markdown(summary, "t", {}, [])


def test_the_report_tells_rates_percentiles_and_errors() -> None:
    text = markdown(summarise(RECORDS, Slo(ttft_ms=500)), "Load", {"loop": "a|b"}, ["one note"])
    for part in (
        "2 completed, 2 failed, 1 unfinished, 0 dropped",
        "| goodput, requests/s (TTFT ≤ 500 ms) | 0.500 |",
        "| TTFT (ms) | 2 | 550.00 | 100.00 | 1000.00 |",
        "| 2 | 503: full |",
        "a\\|b",
        "- one note",
    ):
        assert part in text


def test_a_client_that_was_late_is_told_of() -> None:
    late = RequestRecord("chat", Outcome.FAILED, 0.0, 1.0, lag_ms=400.0)
    assert "The client itself was late" in markdown(summarise([late], Slo()), "t", {}, [])


def test_a_log_gives_back_what_was_written(tmp_path: Path) -> None:
    with RecordLog(tmp_path / "deep" / "r.jsonl") as log:
        for record in RECORDS:
            log.append(record)
    assert read_records(tmp_path / "deep" / "r.jsonl") == RECORDS


def test_a_log_cut_short_by_a_kill_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordLog(path) as log:
        log.append(RECORDS[0])
    path.write_bytes(path.read_bytes() + b'{"kind": "ch')
    assert read_records(path) == RECORDS[:1]


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"kind": 7}\n')
    with pytest.raises(MalformedLog, match=r"r\.jsonl:1"):
        read_records(path)
