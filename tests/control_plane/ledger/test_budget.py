"""What a budget allows."""

from __future__ import annotations

from control_plane.ledger.budget import Budget, Period, Spent, Stage, judge

_SPENT = Spent(day_usd=10.5, month_usd=90.0, day_ends_at=86_400.0, month_ends_at=2_592_000.0)


def test_below_every_limit_a_budget_says_nothing() -> None:
    assert judge(Budget(usd_per_day=11.0, usd_per_month=100.0), _SPENT) is None
    assert judge(Budget(), _SPENT) is None


def test_at_its_limit_it_holds_and_past_the_grace_it_closes() -> None:
    held, closed = judge(Budget(usd_per_day=10.0), _SPENT), judge(Budget(usd_per_day=9.0), _SPENT)
    assert held is not None and (held.stage, held.resets_at) == (Stage.HELD, 86_400.0)
    assert closed is not None and closed.stage is Stage.CLOSED


def test_without_grace_the_limit_closes_at_once() -> None:
    found = judge(Budget(usd_per_day=10.5), _SPENT, grace=1.0)
    assert found is not None and found.stage is Stage.CLOSED


def test_the_stricter_of_two_limits_is_told_and_of_two_alike_the_longer() -> None:
    closed = judge(Budget(usd_per_day=5.0, usd_per_month=85.0), _SPENT)
    alike = judge(Budget(usd_per_day=10.0, usd_per_month=85.0), _SPENT)
    assert closed is not None and closed.period is Period.DAY
    assert alike is not None and alike.period is Period.MONTH


def test_a_verdict_has_the_numbers() -> None:
    found = judge(Budget(usd_per_day=10.0), _SPENT)
    assert found is not None and found.said == "$10.50 of the budget of $10 a day are spent"
