"""What a budget says of what was spent, from rows (pure)."""

from __future__ import annotations

import math
from typing import Any

from control_plane.ledger.budget import GRACE, Budget, Spent, Stage, Verdict, judge
from control_plane.ledger.money import MICROS
from control_plane.store.ledger_tables import Spending, TenantBudget
from infra.periods import day, month, said

_STEP_S = 600.0
AT_ONCE = 1.0
"""Tenants have no grace: a request more is money more, and nothing of theirs has to be wound up."""


def budget_of(spec: dict[str, Any]) -> Budget:
    """The budget part of a deployment's stored spec."""
    told = spec.get("budget") or {}
    return Budget(told.get("usd_per_day"), told.get("usd_per_month"))


def deployment_verdict(spec: dict[str, Any], row: Spending | None, now: float) -> Verdict | None:
    return _verdict(budget_of(spec), row, now, GRACE)


def tenant_verdict(budget: TenantBudget, row: Spending | None, now: float) -> Verdict | None:
    limits = Budget(budget.usd_per_day, budget.usd_per_month)
    return _verdict(limits, row, now, AT_ONCE)


def consequence(verdict: Verdict) -> str:
    """E.g. "the budget of $10 a day is spent: nothing runs until 2026-11-24 00:00 UTC"."""
    follows = "nothing runs" if verdict.stage is Stage.CLOSED else "no more replicas"
    limit = f"${verdict.limit_usd:g} a {verdict.period.value}"
    return f"the budget of {limit} is spent: {follows} until {said(verdict.resets_at)}"


def refusal(verdict: Verdict, whose: str) -> str:
    """For a client."""
    limit = f"${verdict.limit_usd:g} a {verdict.period.value}"
    return f"the budget of {whose}, {limit}, is spent; it begins anew at {said(verdict.resets_at)}"


def wait_s(verdict: Verdict, now: float) -> float:
    """Until it begins anew, in whole steps: whoever is told is not told again each second."""
    return math.ceil(max(0.0, verdict.resets_at - now) / _STEP_S) * _STEP_S


def _verdict(budget: Budget, row: Spending | None, now: float, grace: float) -> Verdict | None:
    if row is None or not budget.limits():
        return None
    (today, day_ends_at), (this_month, month_ends_at) = day(now), month(now)
    spent = Spent(
        day_usd=row.day_micros / MICROS if row.day == today else 0.0,
        month_usd=row.month_micros / MICROS if row.month == this_month else 0.0,
        day_ends_at=day_ends_at,
        month_ends_at=month_ends_at,
    )
    return judge(budget, spent, grace)
