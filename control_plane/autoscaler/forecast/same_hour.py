"""A quantile of the same time on past days: no model, so no model can be wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from control_plane.autoscaler.forecast.base import History

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class SameHour:
    """Never less than what is now: a day like no other must not be starved."""

    quantile: float = 0.9
    days: int = 14
    around_s: float = 1800.0
    """Before and after the time of day that count as the same."""
    name: str = "same_hour"

    def forecast(self, history: History, horizon_s: float) -> float:
        values = history.values
        if not values:
            return 0.0
        period = round(_DAY_S / history.window_s)
        around = round(self.around_s / history.window_s)
        seen: list[float] = []
        for day in range(1, self.days + 1):
            then = len(values) - day * period
            first, last = then - around, then + history.windows(horizon_s) + around
            seen += values[max(0, first) : max(0, min(last, len(values)))]
        current = max(0.0, values[-1])
        return max(current, _quantile(seen, self.quantile)) if seen else current


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
