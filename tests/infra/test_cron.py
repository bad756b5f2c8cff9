from __future__ import annotations

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from infra.cron import parse_cron


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    def part() -> str:
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        step = draw(st.sampled_from(["", "/2", "/7"]))
        kinds = [str(first), f"{first}-{last}", f"{first}-{last}{step}", "*", f"*{step}"]
        return draw(st.sampled_from(kinds))

    return ",".join(part() for _ in range(draw(st.integers(1, 3))))


@given(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 6))
def test_it_reads_what_another_reads(
    minute: str, hour: str, month_day: str, month: str, week_day: str
) -> None:
    line = f"{minute} {hour} {month_day} {month} {week_day}"
    mine, other = parse_cron(line), crontab.from_string(line)
    assert {each.minute for each in mine.times} == other.minute
    assert {each.hour for each in mine.times} == other.hour
    assert mine.month_days == other.day_of_month
    assert mine.months == other.month_of_year
    assert mine.week_days == other.day_of_week


def test_names_and_sevens_are_days_too() -> None:
    assert parse_cron("0 0 * Jan,march fri-7").week_days == {5, 6, 0}
    assert parse_cron("0 0 * Jan,march,sept *").months == {1, 3, 9}


def test_a_step_from_a_number_goes_to_the_end() -> None:
    assert [each.minute for each in parse_cron("50/4 0 * * *").times] == [50, 54, 58]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("* * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("61 * * * *", "minute: '61' is not 0 to 59"),
        ("0 24 * * *", "hour"),
        ("0 8 0 * *", "day of month"),
        ("0 8 31 2 *", "never comes"),
        ("0 8 * 13 *", "month: '13' is not 1 to 12, or jan"),
        ("0 8 * * noday", "day of week"),
        ("0 8 * * mo", "day of week"),
        ("0 8 * junk *", "month: 'junk' is not 1 to 12, or jan"),
        ("0 8 * * weds", "day of week: 'weds' is not 0 to 7, or sun"),
        ("*/0 * * * *", "is empty"),
        ("5-1 * * * *", "is empty"),
        ("*-5 * * * *", "no number"),
        ("1- * * * *", "no number"),
        ("-1 * * * *", "no number"),
        ("1,,2 * * * *", "no number"),
        ("0 8 * * mon2", "day of week"),
        ("٣ * * * *", "minute"),
    ],
)
def test_what_is_no_line_is_refused_with_the_field(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_cron(line)
