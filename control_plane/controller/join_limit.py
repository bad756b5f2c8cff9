"""How long a launched machine may take to join, from those that did (pure)."""

from __future__ import annotations

from collections.abc import Sequence

SAMPLES = 20
"""Of the newest machines that joined."""
_ENOUGH = 3
_FIRST_S = 900.0
"""EC2 boots in half a minute, a GPU image's drivers in another; installing a wheel with torch took
minutes. A machine that waits in vain costs its price for so long, once."""
_MARGIN = 4.0
_LEAST_S, _MOST_S = 180.0, 1800.0


def join_limit_s(joins_s: Sequence[float]) -> float:
    """Four times the slowest of the last joins, within 3 to 30 minutes; 15 while few are known.

    Args:
        joins_s: seconds from the request of an instance to its join.
    """
    if len(joins_s) < _ENOUGH:
        return _FIRST_S
    return min(max(_LEAST_S, _MARGIN * max(joins_s)), _MOST_S)
