"""How long a replica takes to start: measured where there are starts to measure (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEW = 5
"""Fewer starts than this do not show how far they spread."""
_SPREAD_OF_FEW = 2.0


@dataclass(frozen=True, slots=True)
class BootTime:
    p50_s: float
    p90_s: float
    starts: int
    """Measured ones that it is made of; 0: the prior."""


PRIOR = BootTime(p50_s=30.0, p90_s=120.0, starts=0)
"""Believed of a revision that never started: a launch, and some gigabytes read from disk."""


def boot_time(seconds: Sequence[float]) -> BootTime:
    """Of the starts of one (revision, instance type, cache tier), in any order.

    While there are few, the p90 is at least twice the p50: the next may well be the slow one.
    """
    if not seconds:
        return PRIOR
    rising = sorted(seconds)
    p50_s, p90_s = _quantile(rising, 0.5), _quantile(rising, 0.9)
    if len(rising) < FEW:
        p90_s = max(rising[-1], _SPREAD_OF_FEW * p50_s)
    return BootTime(round(p50_s, 3), round(p90_s, 3), len(rising))


def _quantile(rising: Sequence[float], share: float) -> float:
    """Linear between the two nearest ranks."""
    place = share * (len(rising) - 1)
    low = math.floor(place)
    high = min(low + 1, len(rising) - 1)
    return rising[low] + (place - low) * (rising[high] - rising[low])
