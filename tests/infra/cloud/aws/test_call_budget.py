"""The budget of calls, by a clock of our own."""

from __future__ import annotations

from infra.cloud.aws.call_budget import CallBudget


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_is_free_and_the_next_waits_its_turn() -> None:
    budget = CallBudget(calls_per_s=2.0, burst_s=2.0, clock=Clock())
    assert [budget.wait_s(10.0) for _ in range(6)] == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0]


def test_what_would_come_too_late_books_nothing() -> None:
    clock = Clock()
    budget = CallBudget(calls_per_s=1.0, burst_s=1.0, clock=clock)
    assert budget.wait_s(0.0) == 0.0
    assert budget.wait_s(0.5) is None
    assert budget.wait_s(0.5) is None
    clock.now_s = 1.0
    assert budget.wait_s(0.0) == 0.0


def test_idle_time_is_saved_up_to_the_burst_only() -> None:
    clock = Clock()
    budget = CallBudget(calls_per_s=1.0, burst_s=2.0, clock=clock)
    clock.now_s = 1000.0
    assert [budget.wait_s(10.0) for _ in range(3)] == [0.0, 0.0, 1.0]
