from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest

from loadtests.traffic import arrivals
from loadtests.traffic.schedule import Arrivals, Due, Plan, schedule

COUNT = 20_000


def _gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def test_constant_arrivals_have_equal_gaps() -> None:
    times = list(islice(arrivals.constant(4.0), 1000))
    assert _gaps(times) == pytest.approx([0.25] * 999)


def test_poisson_arrivals_keep_their_mean_rate_and_vary_as_they_should() -> None:
    gaps = _gaps(list(islice(arrivals.poisson(50.0, Random(1)), COUNT)))
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert variance == pytest.approx(mean**2, rel=0.1)


def test_bursts_come_together_and_keep_the_mean_rate() -> None:
    times = list(islice(arrivals.bursts(50.0, 8, Random(1)), COUNT))
    assert all(len(set(times[at : at + 8])) == 1 for at in range(0, COUNT, 8))
    assert len(set(times)) == COUNT // 8
    assert COUNT / times[-1] == pytest.approx(50.0, rel=0.06)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_must_make_sense(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        next(arrivals.constant(rate))


def test_the_same_seed_gives_the_same_schedule() -> None:
    plan = Plan(Arrivals.POISSON, rate_per_s=3.0)
    first, second = (list(islice(schedule(plan, Random(7)), 50)) for _ in range(2))
    assert first == second


def test_a_replay_keeps_recorded_times_and_cuts_lengths(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,9000,0\n8,10,20\n")
    plan = Plan(Arrivals.REPLAY, trace=trace, speed=2.0, max_prompt_tokens=512)
    assert list(schedule(plan, Random(0))) == [Due(0.0, 512, 1), Due(4.0, 10, 20)]


def test_a_replay_without_a_trace_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="--trace"):
        schedule(Plan(Arrivals.REPLAY), Random(0))
