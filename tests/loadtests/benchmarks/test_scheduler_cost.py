"""The benchmark of the scheduler measures steps in which everybody decodes."""

from __future__ import annotations

from loadtests.benchmarks.scheduler_cost import measure


def test_more_sequences_cost_more() -> None:
    assert 0 < measure(1, steps=16) < measure(64, steps=16)
