"""Level, damped trend and daily season, smoothed exponentially (Holt 1957, Winters 1960; the
damping is Gardner and McKenzie's, 1985)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.autoscaler.forecast.base import History

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class HoltWinters:
    """Additive. Without two whole seasons of history it has no season, with one value no trend."""

    level_gain: float = 0.3
    trend_gain: float = 0.1
    season_gain: float = 0.2
    damping: float = 0.9
    season_s: float = _DAY_S
    name: str = "holt_winters"

    def forecast(self, history: History, horizon_s: float) -> float:
        values = history.values
        if not values:
            return 0.0
        period = round(self.season_s / history.window_s)
        seasonal = period > 1 and len(values) >= 2 * period
        season = _first_season(values[:period]) if seasonal else [0.0]
        level, trend = values[0] - season[0], 0.0
        for index, value in enumerate(values):
            phase = index % len(season)
            before, damped = level, self.damping * trend
            level = self.level_gain * (value - season[phase]) + (1 - self.level_gain) * (
                level + damped
            )
            trend = self.trend_gain * (level - before) + (1 - self.trend_gain) * damped
            if seasonal:
                season[phase] += self.season_gain * (value - level - season[phase])
        return max(0.0, self._highest(level, trend, season, len(values), history, horizon_s))

    def _highest(
        self,
        level: float,
        trend: float,
        season: list[float],
        passed: int,
        history: History,
        horizon_s: float,
    ) -> float:
        """Of the windows between now and the horizon."""
        highest, reached, step = float("-inf"), level, trend
        for ahead in range(history.windows(horizon_s)):
            step *= self.damping
            reached += step
            highest = max(highest, reached + season[(passed + ahead) % len(season)])
        return highest


def _first_season(values: Sequence[float]) -> list[float]:
    first = list(values)
    mean = sum(first) / len(first)
    return [value - mean for value in first]
