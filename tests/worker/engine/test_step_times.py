"""The bound of a step is never below what steps like it took."""

from __future__ import annotations

from worker.engine.step_times import StepTimes


def test_nothing_is_expected_before_the_first_step_or_without_work() -> None:
    times = StepTimes()
    assert times.bound_s(5) == 0
    times.observe(5, 1.0)
    assert times.bound_s(0) == 0


def test_the_bound_is_above_the_worst_step_of_its_size() -> None:
    times = StepTimes()
    times.observe(8, 0.1)
    times.observe(9, 0.4)
    assert times.bound_s(10) > 0.4


def test_a_size_not_seen_is_scaled_up_from_a_smaller_one() -> None:
    times = StepTimes()
    times.observe(32, 0.1)
    assert times.bound_s(512) >= 0.1 * 512 / 32
    assert times.bound_s(1) >= 0.1
