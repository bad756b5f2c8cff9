from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.autoscaler.forecast.backtest import FORECASTERS, choose
from control_plane.autoscaler.forecast.base import Forecaster, History
from control_plane.autoscaler.forecast.holt_winters import HoltWinters
from control_plane.autoscaler.forecast.last_value import LastValue
from control_plane.autoscaler.forecast.same_hour import SameHour

_WINDOW_S = 600.0
_A_DAY = 144
_HOUR_S = 3600.0

each = pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda one: one.name)


def _days(count: float, noise: float = 0.0) -> list[float]:
    """A working day: little at night, most in the afternoon."""
    random = Random(5)
    return [
        max(0.0, 100 - 80 * math.cos(2 * math.pi * index / _A_DAY) + random.gauss(0, noise))
        for index in range(round(count * _A_DAY))
    ]


@each
def test_nothing_is_foreseen_where_nothing_ever_came(forecaster: Forecaster) -> None:
    assert forecaster.forecast(History([], _WINDOW_S), _HOUR_S) == 0
    assert forecaster.forecast(History([0.0] * 500, _WINDOW_S), _HOUR_S) == 0


@each
def test_what_never_changes_is_foreseen_unchanged(forecaster: Forecaster) -> None:
    history = History([40.0] * (3 * _A_DAY), _WINDOW_S)
    assert forecaster.forecast(history, _HOUR_S) == pytest.approx(40.0)


@each
@settings(deadline=None)
@given(values=st.lists(st.floats(0, 1e9), max_size=400), horizon_s=st.floats(0, 1e5))
def test_a_forecast_is_a_number_and_no_debt(
    forecaster: Forecaster, values: list[float], horizon_s: float
) -> None:
    found = forecaster.forecast(History(values, _WINDOW_S), horizon_s)
    assert 0 <= found < math.inf


@pytest.mark.parametrize("forecaster", [HoltWinters(), SameHour()], ids=lambda one: one.name)
def test_a_rise_that_comes_every_morning_is_foreseen(forecaster: Forecaster) -> None:
    week = _days(7.25)  # a quarter of a day: in the middle of the rise
    now, soon = week[-1], _days(8)[len(week) + 6]
    foreseen = forecaster.forecast(History(week, _WINDOW_S), _HOUR_S)
    assert soon > now * 1.2
    assert abs(foreseen - soon) < (soon - now) / 2


def test_a_trend_is_followed_but_not_for_ever() -> None:
    rising = History([10.0 * step for step in range(50)], _WINDOW_S)
    foreseen = [HoltWinters().forecast(rising, ahead * _WINDOW_S) for ahead in (1, 2, 4, 100, 1000)]
    assert all(later >= sooner for sooner, later in pairwise(foreseen))
    assert foreseen[0] > 480
    assert foreseen[-1] == pytest.approx(foreseen[-2], rel=0.01)


def test_an_unusual_day_is_not_starved_by_the_usual_ones() -> None:
    history = History([*_days(7), 1000.0], _WINDOW_S)
    assert SameHour().forecast(history, _HOUR_S) >= 1000


def test_days_that_repeat_are_forecast_by_a_season() -> None:
    choice = choose(History(_days(10, noise=3), _WINDOW_S), _HOUR_S)
    assert choice.forecaster.name != LastValue.name
    assert choice.costs[choice.forecaster.name] < choice.costs[LastValue.name]


def test_noise_without_shape_is_not_forecast_by_one() -> None:
    random = Random(7)
    walk, value = [], 500.0
    for _ in range(600):
        value = max(0.0, value + random.gauss(0, 5))
        walk.append(value)
    choice = choose(History(walk, _WINDOW_S), _WINDOW_S)
    assert choice.costs[choice.forecaster.name] <= choice.costs[LastValue.name]


def test_a_deployment_without_a_past_is_forecast_by_its_last_value() -> None:
    choice = choose(History([1.0, 2.0], _WINDOW_S), _HOUR_S)
    assert (choice.forecaster.name, choice.costs) == (LastValue.name, {})


def test_a_back_test_knows_nothing_of_its_future() -> None:
    class Watching:
        name = "watching"
        longest = 0

        def forecast(self, history: History, horizon_s: float) -> float:
            self.longest = max(self.longest, len(history.values))
            return 0.0

    watching = Watching()
    choose(History(_days(1), _WINDOW_S), _HOUR_S, [watching])
    assert watching.longest == _A_DAY - 6
