from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.schedule import Floor, check_zone, scheduled_replicas

BERLIN = ZoneInfo("Europe/Berlin")
WORK = Floor("0 8 * * mon-fri", 10 * 3600.0, 3, "Europe/Berlin")


def at(year: int, month: int, day: int, hour: int, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("moment", "ahead_s", "expected"),
    [
        (at(2026, 11, 23, 7, 59), 0.0, 0),
        (at(2026, 11, 23, 7, 59), 60.0, 3),
        (at(2026, 11, 23, 8), 0.0, 3),
        (at(2026, 11, 23, 17, 59), 0.0, 3),
        (at(2026, 11, 23, 18), 0.0, 0),
        (at(2026, 11, 22, 12), 0.0, 0),
        (at(2026, 7, 1, 8), 0.0, 3),
    ],
)
def test_a_floor_holds_from_its_time_on_and_is_asked_for_ahead(
    moment: float, ahead_s: float, expected: int
) -> None:
    assert scheduled_replicas([WORK], moment, ahead_s) == expected


def test_the_highest_of_those_that_hold_counts() -> None:
    lunch = Floor("30 11 * * *", 3600.0, 5, "Europe/Berlin")
    assert scheduled_replicas([WORK, lunch], at(2026, 11, 23, 12), 0.0) == 5


def test_a_floor_goes_on_over_midnight_and_for_days() -> None:
    weekend = Floor("0 20 * * fri", 60 * 3600.0, 2, "Europe/Berlin")
    assert scheduled_replicas([weekend], at(2026, 11, 22, 7), 0.0) == 2
    assert scheduled_replicas([weekend], at(2026, 11, 23, 8, 1), 0.0) == 0


def test_of_both_kinds_of_days_either_will_do() -> None:
    either = Floor("0 0 1 * sun", 86_400.0, 1, "Europe/Berlin")
    assert scheduled_replicas([either], at(2026, 12, 1, 9), 0.0) == 1, "a Tuesday"
    assert scheduled_replicas([either], at(2026, 11, 22, 9), 0.0) == 1, "a Sunday"
    assert scheduled_replicas([either], at(2026, 11, 23, 9), 0.0) == 0


def test_a_time_that_the_clock_skips_comes_an_hour_later() -> None:
    night = Floor("30 2 * * *", 600.0, 1, "Europe/Berlin")
    assert scheduled_replicas([night], at(2026, 3, 29, 3, 30), 0.0) == 1
    assert scheduled_replicas([night], at(2026, 3, 29, 3, 20), 0.0) == 0


def test_of_a_time_that_the_clock_shows_twice_the_first_counts() -> None:
    night = Floor("30 2 * * *", 600.0, 1, "Europe/Berlin")
    first = at(2026, 10, 25, 2, 30)
    assert scheduled_replicas([night], first + 60, 0.0) == 1
    assert scheduled_replicas([night], first + 3600 + 60, 0.0) == 0
    assert scheduled_replicas([night], first + 86_400 + 3600 + 60, 0.0) == 1


def test_a_floor_holds_without_a_gap_while_the_clock_shows_its_start_again() -> None:
    night = Floor("30 2 * * *", 7200.0, 1, "Europe/Berlin")
    start = at(2026, 10, 25, 2, 30)
    held = [scheduled_replicas([night], start + 60 * minute, 0.0) for minute in range(-5, 125, 5)]
    assert held == [0] + [1] * 24 + [0]


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "/etc/localtime", ""])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        check_zone(name)


@given(
    minute=st.integers(0, 59),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    days=st.sets(st.integers(0, 6), min_size=1),
    minutes=st.integers(1, 3000),
    moment=st.integers(0, 366 * 1440),
)
def test_it_agrees_with_a_walk_over_every_minute(
    minute: int, hours: set[int], days: set[int], minutes: int, moment: int
) -> None:
    """In UTC, where no clock jumps."""
    cron = f"{minute} {','.join(map(str, hours))} * * {','.join(map(str, days))}"
    now = datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(minutes=moment)
    started = [
        now - timedelta(minutes=back)
        for back in range(minutes)
        if (now - timedelta(minutes=back)).minute == minute
    ]
    expected = any(each.hour in hours and each.isoweekday() % 7 in days for each in started)
    found = scheduled_replicas([Floor(cron, minutes * 60.0, 1)], now.timestamp(), 0.0)
    assert found == int(expected)
