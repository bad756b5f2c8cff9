"""Days and months of the calendar, in UTC, as epoch seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def day(at: float) -> tuple[int, int]:
    """First second of the day that holds `at`, and of the next one."""
    begin = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return _seconds(begin), _seconds(begin + timedelta(days=1))


def month(at: float) -> tuple[int, int]:
    """First second of the month that holds `at`, and of the next one."""
    here = datetime.fromtimestamp(at, UTC)
    begin = here.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    # The longest month has 31 days, so 32 days on it is the next one.
    return _seconds(begin), _seconds((begin + timedelta(days=32)).replace(day=1))


def date(at: float) -> str:
    """E.g. "2026-11-24"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def said(at: float) -> str:
    """E.g. "2026-11-24 00:00 UTC"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
