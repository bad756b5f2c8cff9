from __future__ import annotations

import pytest

from loadtests.statistics.record import Outcome, RequestRecord, Slo


def _record(
    ttft_ms: float | None = 100.0,
    e2e_ms: float = 1000.0,
    output_tokens: int = 10,
    outcome: Outcome = Outcome.COMPLETED,
) -> RequestRecord:
    return RequestRecord(
        "chat", outcome, 0.0, 1.0, ttft_ms=ttft_ms, e2e_ms=e2e_ms, output_tokens=output_tokens
    )


def test_tpot_spreads_the_time_after_the_first_token_over_the_others() -> None:
    assert _record(ttft_ms=100, e2e_ms=1000, output_tokens=10).tpot_ms == pytest.approx(100.0)


@pytest.mark.parametrize("output_tokens", [0, 1])
def test_an_answer_of_fewer_than_two_tokens_has_no_tpot(output_tokens: int) -> None:
    assert _record(output_tokens=output_tokens).tpot_ms is None


def test_the_rate_of_a_stream_counts_its_first_wait() -> None:
    assert _record(e2e_ms=2000, output_tokens=10).tokens_per_s == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(), True),
        (Slo(ttft_ms=100), True),
        (Slo(ttft_ms=99.9), False),
        (Slo(tpot_ms=100), True),
        (Slo(tpot_ms=99.9), False),
        (Slo(ttft_ms=100, tpot_ms=99.9), False),
    ],
)
def test_an_slo_is_met_only_within_every_limit(slo: Slo, met: bool) -> None:
    assert slo.is_met_by(_record()) is met


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNFINISHED, Outcome.DROPPED])
def test_only_a_completed_request_meets_an_slo(outcome: Outcome) -> None:
    assert not Slo().is_met_by(_record(outcome=outcome))


def test_an_answer_without_text_is_judged_by_its_end() -> None:
    empty = _record(ttft_ms=None, e2e_ms=300, output_tokens=0)
    assert Slo(ttft_ms=300).is_met_by(empty)
    assert not Slo(ttft_ms=299).is_met_by(empty)
