"""What a budget says now: whether its owner may go on, may not grow, or has to stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GRACE = 1.1
"""Of a deployment's budget: what runs may finish a day that it all but pays for."""


class Period(StrEnum):
    """Of the calendar, in UTC."""

    DAY = "day"
    MONTH = "month"


class Stage(StrEnum):
    OPEN = "open"
    HELD = "held"
    """The budget is spent: no more replicas than there are."""
    CLOSED = "closed"
    """And the grace too: nothing runs."""


@dataclass(frozen=True, slots=True)
class Budget:
    """None: no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def limits(self) -> list[tuple[Period, float]]:
        both = ((Period.MONTH, self.usd_per_month), (Period.DAY, self.usd_per_day))
        return [(period, limit) for period, limit in both if limit is not None]


@dataclass(frozen=True, slots=True)
class Spent:
    """In the periods that hold the present moment, and when each of them ends (epoch seconds)."""

    day_usd: float = 0.0
    month_usd: float = 0.0
    day_ends_at: float = 0.0
    month_ends_at: float = 0.0

    def of(self, period: Period) -> tuple[float, float]:
        """US dollars, and when counting begins again."""
        if period is Period.DAY:
            return self.day_usd, self.day_ends_at
        return self.month_usd, self.month_ends_at


@dataclass(frozen=True, slots=True)
class Verdict:
    """The strictest that any limit of a budget says."""

    stage: Stage
    period: Period
    spent_usd: float
    limit_usd: float
    resets_at: float
    """Epoch seconds."""

    @property
    def said(self) -> str:
        """E.g. "$10.42 of the budget of $10 a day are spent"."""
        limit = f"${self.limit_usd:g} a {self.period.value}"
        return f"${self.spent_usd:.2f} of the budget of {limit} are spent"


def judge(budget: Budget, spent: Spent, grace: float = GRACE) -> Verdict | None:
    """None without a limit, and while every limit holds.

    Args:
        grace: at this multiple of a limit nothing may run any longer.
    """
    found = None
    for period, limit in budget.limits():
        usd, resets_at = spent.of(period)
        if usd < limit:
            continue
        stage = Stage.CLOSED if usd >= limit * grace else Stage.HELD
        # The month is judged first: of two alike the one that holds for longer is told.
        if found is None or (stage is Stage.CLOSED and found.stage is Stage.HELD):
            found = Verdict(stage, period, usd, limit, resets_at)
    return found
