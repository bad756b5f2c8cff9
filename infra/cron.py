"""Reads the five fields of a cron line (pure): numbers, names, ranges, steps and lists of those, as
POSIX's crontab and its usual extensions say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache

_MONTHS = {
    "january": 1,
    "february": 2,
    "march": 3,
    "april": 4,
    "may": 5,
    "june": 6,
    "july": 7,
    "august": 8,
    "september": 9,
    "october": 10,
    "november": 11,
    "december": 12,
}
_DAYS = {
    "sunday": 0,
    "monday": 1,
    "tuesday": 2,
    "wednesday": 3,
    "thursday": 4,
    "friday": 5,
    "saturday": 6,
}
_LEAST_LETTERS = 3
_PART = re.compile(r"(?P<first>\*|[a-z0-9]+)(?:-(?P<last>[a-z0-9]+))?(?:/(?P<step>\d+))?")
_LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@dataclass(frozen=True, slots=True)
class Cron:
    times: tuple[time, ...]
    """Rising."""
    month_days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]
    """0: Sunday."""

    def happens_on(self, day: date) -> bool:
        """Where both kinds of days are limited, either will do."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.month_days, day.isoweekday() % 7 in self.week_days
        if len(self.month_days) < 31 and len(self.week_days) < 7:
            return in_month or in_week
        return in_month and in_week


@lru_cache(maxsize=1024)
def parse_cron(line: str) -> Cron:
    """Raises ValueError: it is no line; the message says which field, and why."""
    fields = line.lower().split()
    if len(fields) != 5:
        raise ValueError("five fields: minute, hour, day of month, month, day of week")
    minutes = _field("minute", fields[0], 0, 59)
    hours = _field("hour", fields[1], 0, 23)
    month_days = _field("day of month", fields[2], 1, 31)
    months = _field("month", fields[3], 1, 12, _MONTHS)
    week_days = frozenset(each % 7 for each in _field("day of week", fields[4], 0, 7, _DAYS))
    if len(week_days) == 7 and not any(
        day <= _LONGEST_MONTHS.get(month, 31) for day in month_days for month in months
    ):
        raise ValueError(f"day of month {fields[2]} never comes in month {fields[3]}")
    times = tuple(sorted(time(hour, minute) for hour in hours for minute in minutes))
    return Cron(times, month_days, months, week_days)


def _field(
    name: str, text: str, low: int, high: int, names: Mapping[str, int] | None = None
) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found |= set(_part(name, part, low, high, names or {}))
    return frozenset(found)


def _part(name: str, text: str, low: int, high: int, names: Mapping[str, int]) -> Sequence[int]:
    matched = _PART.fullmatch(text)
    if matched is None or (matched["first"] == "*" and matched["last"]):
        raise ValueError(f"{name}: '{text}' is no number, range or step")
    step = int(matched["step"] or 1)
    if matched["first"] == "*":
        first, last = low, high
    else:
        first = _number(name, matched["first"], low, high, names)
        # A step from a number on goes to the end, as everywhere.
        alone = high if matched["step"] else first
        last = _number(name, matched["last"], low, high, names) if matched["last"] else alone
    if step < 1 or last < first:
        raise ValueError(f"{name}: '{text}' is empty")
    return range(first, last + 1, step)


def _number(name: str, text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = _named(text, names) if text.isalpha() else int(text) if text.isdigit() else None
    if number is None or not low <= number <= high:
        also = ", or " + ", ".join(each[:_LEAST_LETTERS] for each in names) if names else ""
        raise ValueError(f"{name}: '{text}' is not {low} to {high}{also}")
    return number


def _named(text: str, names: Mapping[str, int]) -> int | None:
    """Of a name, or of its beginning."""
    if len(text) < _LEAST_LETTERS:
        return None
    return next((number for each, number in names.items() if each.startswith(text)), None)
