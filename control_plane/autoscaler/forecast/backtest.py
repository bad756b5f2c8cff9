"""Which forecaster would have served this deployment best, on its own past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.autoscaler.forecast.base import Forecaster, History
from control_plane.autoscaler.forecast.holt_winters import HoltWinters
from control_plane.autoscaler.forecast.last_value import LastValue
from control_plane.autoscaler.forecast.same_hour import SameHour

FORECASTERS: tuple[Forecaster, ...] = (LastValue(), HoltWinters(), SameHour())
"""The first is taken where the others are no better."""
_SHORTAGE_COST = 3.0
"""Of a unit of demand that was not foreseen, in units that were foreseen and did not come: a
request that waits is worse than a replica that idles."""
_MARGIN = 0.95
"""Another one must cost less than this share of the first."""
_LEAST_WINDOWS = 12
_TRIALS = 60


@dataclass(frozen=True, slots=True)
class Choice:
    forecaster: Forecaster
    costs: dict[str, float]
    """Of each by name, a window; empty where there is too little history to tell."""


def choose(
    history: History, horizon_s: float, forecasters: Sequence[Forecaster] = FORECASTERS
) -> Choice:
    """The cheapest at evenly spaced moments of the past, each forecast from what was known then."""
    ahead = history.windows(horizon_s)
    moments = range(_LEAST_WINDOWS, len(history.values) - ahead + 1)
    if not moments:
        return Choice(forecasters[0], {})
    moments = moments[:: max(1, len(moments) // _TRIALS)]
    costs = {
        each.name: sum(_cost(each, history, moment, ahead) for moment in moments) / len(moments)
        for each in forecasters
    }
    best = min(forecasters, key=lambda each: costs[each.name])
    clear = costs[best.name] < _MARGIN * costs[forecasters[0].name]
    return Choice(best if clear else forecasters[0], costs)


def _cost(forecaster: Forecaster, history: History, moment: int, ahead: int) -> float:
    foreseen = forecaster.forecast(history.until(moment), ahead * history.window_s)
    came = max(history.values[moment : moment + ahead])
    return _SHORTAGE_COST * max(0.0, came - foreseen) + max(0.0, foreseen - came)
