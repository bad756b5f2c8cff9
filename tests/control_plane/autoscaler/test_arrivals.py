"""How much work arrives, from totals that only grow."""

from __future__ import annotations

import math

import pytest

from control_plane.autoscaler.arrivals import Arrivals, Counts, Sizes
from control_plane.autoscaler.capacity import replica_capacity
from control_plane.autoscaler.observation import Tokens
from infra.performance.capacity import RequestMix, Slo
from infra.performance.step_time import StepTime


def _watched(*totals: Counts, every_s: float = 5.0) -> Arrivals:
    arrivals, before = Arrivals(), totals[0]
    for index, total in enumerate(totals):
        arrivals.see(total.since(before), total, index * every_s)
        before = total
    return arrivals


def test_jobs_that_all_ended_without_a_token_tell_nothing_of_an_outputs_length() -> None:
    cancelled = Counts(jobs=3, prompt_tokens=600, ended_jobs=3, output_tokens=0)
    assert _watched(Counts(), cancelled).sizes == Sizes(prompt_tokens=200.0)


@pytest.mark.parametrize("output", [1 / 40, 1.0, 1e5])
def test_a_capacity_is_never_nothing(output: float) -> None:
    """Whatever the mix: what arrives is divided by it."""
    time = StepTime(0.5, 1e-3, 1e-6, 0.5, 1e-4, 1e-9)
    mix = RequestMix(prompt_tokens=0.05, output_tokens=output, cached_tokens=0.95)
    found = replica_capacity(time, mix, Slo(math.inf, math.inf), 10**6, 1, "model")
    assert 0 < found.replicas(Tokens(1.0, 1.0)) < math.inf


def test_a_history_grows_by_a_value_when_a_window_closes() -> None:
    arrivals, total = Arrivals(), Counts()
    lengths = []
    for second in range(0, 901, 100):
        grown = Counts(jobs=10, prompt_tokens=1000)
        total = total.plus(grown)
        arrivals.see(grown, total, float(second))
        prefill, decode = arrivals.history()
        lengths.append((len(prefill.values), len(decode.values)))
    assert lengths == [(each, each) for each in (0, 0, 0, 1, 1, 1, 2, 2, 2, 3)]
    assert prefill.values == pytest.approx([10.0, 10.0, 10.0])
