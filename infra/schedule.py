"""Replicas that an owner wants at certain times: cron lines that raise the minimum for a while
(pure).

Times are those of a wall clock in the line's time zone. A time that the clock skips in spring
happens an hour later; of one that it shows twice in autumn, the first counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from zoneinfo import ZoneInfo

from infra.cron import Cron, parse_cron

LONGEST_S = 7 * 86_400.0
_DAYS_BACK = 8


@dataclass(frozen=True, slots=True)
class Floor:
    """At least so many replicas, from each time of the line on, for so long."""

    cron: str
    duration_s: float
    min_replicas: int
    timezone: str = "UTC"


def check_zone(name: str) -> None:
    """Raises ValueError: there is no such time zone."""
    _zone(name)


def scheduled_replicas(schedule: Sequence[Floor], now: float, ahead_s: float) -> int:
    """The highest of the floors that hold now or will within `ahead_s`, which is how long replicas
    take to be there; 0 for none.

    Args:
        now: epoch seconds.

    Raises:
        ValueError: one of them is none.
    """
    return max(
        (each.min_replicas for each in schedule if _holds(each, now, now + ahead_s)), default=0
    )


def _holds(floor: Floor, first: float, last: float) -> bool:
    start = _last_start(parse_cron(floor.cron), _zone(floor.timezone), last)
    return start is not None and start + floor.duration_s > first


def _last_start(line: Cron, zone: ZoneInfo, until: float) -> float | None:
    """The newest time of the line up to `until`, as far back as any floor holds."""
    today = datetime.fromtimestamp(until, zone)
    for back in range(_DAYS_BACK + 1):
        day = today.date() - timedelta(days=back)
        if not line.happens_on(day):
            continue
        # Where a clock goes back, times that are later on it have been (`fold`: it shows its hour
        # again), and where it goes forth, some that are earlier on it are yet to come.
        clock = today.time() if back == 0 and not today.fold else time_of_day.max
        for at in reversed(line.times[: bisect_right(line.times, clock)]):
            start = datetime.combine(day, at, zone).timestamp()
            if start <= until:
                return start
    return None


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; say UTC, or Europe/Berlin") from error
