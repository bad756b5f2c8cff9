"""What is will be: hard to beat where demand has no shape, and never surprising."""

from __future__ import annotations

from control_plane.autoscaler.forecast.base import History


class LastValue:
    name = "last_value"

    def forecast(self, history: History, horizon_s: float) -> float:
        del horizon_s
        return max(0.0, history.values[-1]) if history.values else 0.0
