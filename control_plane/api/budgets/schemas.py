from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from control_plane.api.strict import StrictBody
from control_plane.ledger.money import MICROS
from control_plane.store.ledger_tables import Spending, TenantBudget
from infra.periods import day, month

Usd = Annotated[float, Field(gt=0, le=1e9)]


class Limits(StrictBody):
    """US dollars in a day and in a month of the calendar, in UTC; null: no limit."""

    usd_per_day: Usd | None = None
    usd_per_month: Usd | None = None

    @model_validator(mode="after")
    def _can_both_act(self) -> Limits:
        if self.usd_per_day and self.usd_per_month and self.usd_per_month < self.usd_per_day:
            raise PydanticCustomError(
                "contradiction",
                "is {month}, which is less than usd_per_day ({day}): raise it, or leave one out",
                {"field": "usd_per_month", "month": self.usd_per_month, "day": self.usd_per_day},
            )
        return self


class TenantLimits(Limits):
    @model_validator(mode="after")
    def _says_something(self) -> TenantLimits:
        if self.usd_per_day is None and self.usd_per_month is None:
            raise PydanticCustomError(
                "nothing_said", "say usd_per_day or usd_per_month; DELETE removes a budget"
            )
        return self


class BudgetShown(BaseModel):
    tenant: str
    usd_per_day: float | None
    usd_per_month: float | None
    spent_day_usd: float
    """Today, in UTC, as it was summed up last."""
    spent_month_usd: float
    updated_at: float


def show_budget(budget: TenantBudget, spent: Spending | None, now: float) -> BudgetShown:
    today = spent is not None and spent.day == day(now)[0]
    this_month = spent is not None and spent.month == month(now)[0]
    return BudgetShown(
        tenant=budget.tenant,
        usd_per_day=budget.usd_per_day,
        usd_per_month=budget.usd_per_month,
        spent_day_usd=spent.day_micros / MICROS if spent is not None and today else 0.0,
        spent_month_usd=spent.month_micros / MICROS if spent is not None and this_month else 0.0,
        updated_at=budget.updated_at,
    )
