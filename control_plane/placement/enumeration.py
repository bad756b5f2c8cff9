"""Every way to serve one deployment that may be part of a good plan.

A cover is so many replicas in each pool that meet a deployment's needs and would not without any
one of them. At given prices of slots most covers are far dearer than the cheapest, and a plan that
has one of those is dearer by that much: those need not be listed (route enumeration: Baldacci,
Christofides and Mingozzi, Mathematical Programming 115, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control_plane.placement.offer import Pool
from control_plane.placement.plan import share_usd
from control_plane.placement.problem import Fit, Problem, Want

_SLACK = 1e-9
_MOST_TRIED = 80_000
"""Beginnings of covers that are looked at for one more pool."""
_MOST_KEPT = 5_000

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Covers:
    want: Want
    fits: Sequence[Fit]
    counts: Counts
    """A row for each cover, a column for each fit: replicas. The cheapest first."""
    usd: Floats
    """Of each cover at the prices that were asked with, in an hour, its starts included."""
    below_usd: float
    """Every cover that costs less than this is listed."""

    def only(self, rows: Rows) -> Covers:
        """These of them; of what else there is nothing is known."""
        return Covers(self.want, self.fits, self.counts[rows], self.usd[rows], 0.0)

    @property
    def starts_usd(self) -> Floats:
        """Of each cover, the cost of what it has where none runs."""
        running = np.array([self.want.running.get(fit.pool, 0) for fit in self.fits])
        starts: Floats = np.maximum(self.counts - running, 0).sum(axis=1) * self.want.start_usd
        return starts


@dataclass(frozen=True, slots=True)
class _Begun:
    """Covers as far as some of the pools go: one entry for each."""

    counts: Counts
    served: Floats
    most_lost: Floats
    """By the loss of one spot pool."""
    usd: Floats

    def at(self, rows: Rows) -> _Begun:
        return _Begun(self.counts[rows], self.served[rows], self.most_lost[rows], self.usd[rows])


def covers(
    problem: Problem,
    want: Want,
    fits: Sequence[Fit],
    slot_usd: Mapping[Pool, float],
    within_usd: float,
) -> Covers:
    """Those that cost at most so much more than the cheapest.

    Args:
        slot_usd: dollars per hour for a device slot of each pool.
        within_usd: dollars per hour.
    """
    fits = sorted(fits, key=lambda fit: (_unit_usd(want, fit, slot_usd), fit.pool))
    units = [_unit_usd(want, fit, slot_usd) for fit in fits]
    begun, whole, cheapest, below = _staying(problem, want, fits, slot_usd), [], math.inf, math.inf
    if _missing(want, begun)[0] <= _SLACK:
        return Covers(want, fits, begun.counts, begun.usd, math.inf)
    for column, fit in enumerate(fits):
        begun = _with(want, begun, column, fit, slot_usd[fit.pool] * fit.devices)
        begun = begun.at(np.flatnonzero(_allowed(problem, want, fits, begun.counts)))
        missing = _missing(want, begun)
        met = missing <= _SLACK
        cheapest = min(cheapest, float(begun.usd[met].min(initial=math.inf)))
        dearest = cheapest + within_usd
        whole.append(begun.at(np.flatnonzero(met & (begun.usd <= dearest))))
        next_usd = units[column + 1] if column + 1 < len(fits) else math.inf
        least = begun.usd + np.where(met, math.inf, np.maximum(missing, _SLACK) * next_usd)
        open_rows = np.flatnonzero(least <= dearest)
        most = max(1, _MOST_TRIED // (_useful(want, fits[min(column + 1, len(fits) - 1)]) + 1))
        most = min(most, _MOST_KEPT)
        if len(open_rows) > most:
            ordered = open_rows[np.argsort(least[open_rows], kind="stable")]
            below, open_rows = min(below, float(least[ordered[most]])), ordered[:most]
        begun = begun.at(open_rows)
    return _listed(problem, want, fits, whole, cheapest + within_usd, below)


def _listed(
    problem: Problem,
    want: Want,
    fits: Sequence[Fit],
    found: Sequence[_Begun],
    dearest: float,
    below: float,
) -> Covers:
    counts = np.concatenate([each.counts for each in found])
    usd = np.concatenate([each.usd for each in found])
    kept = usd <= dearest
    counts, usd = counts[kept], usd[kept]
    needed = _needed(problem, want, fits, counts)
    counts, usd = counts[needed], usd[needed]
    order = np.argsort(usd, kind="stable")
    if len(order) > _MOST_KEPT:
        below, order = min(below, float(usd[order[_MOST_KEPT]])), order[:_MOST_KEPT]
    return Covers(want, fits, counts[order], usd[order], min(below, dearest))


def _staying(
    problem: Problem, want: Want, fits: Sequence[Fit], slot_usd: Mapping[Pool, float]
) -> _Begun:
    """What runs and may not be moved."""
    counts = _stays(problem, want, fits)
    served = counts * [fit.capacity for fit in fits]
    lost = np.where([fit.pool.market == "spot" for fit in fits], served, 0.0)
    usd = counts @ np.array([slot_usd[fit.pool] * fit.devices for fit in fits])
    return _Begun(
        counts[None, :], np.array([served.sum()]), np.array([lost.max()]), np.array([usd])
    )


def _stays(problem: Problem, want: Want, fits: Sequence[Fit]) -> Counts:
    return np.array([0 if problem.moves else want.running.get(fit.pool, 0) for fit in fits])


def _with(want: Want, begun: _Begun, column: int, fit: Fit, each_usd: float) -> _Begun:
    """Each of them with none, one, two and more replicas of one pool."""
    more = np.arange(_useful(want, fit) + 1)
    rows = np.repeat(np.arange(len(begun.usd)), len(more))
    more = np.tile(more, len(begun.usd))
    counts = begun.counts[rows]
    before = begun.counts[rows, column]
    after = before + more
    counts[:, column] = after
    running = want.running.get(fit.pool, 0)
    starts = np.maximum(after - running, 0) - np.maximum(before - running, 0)
    most_lost = begun.most_lost[rows]
    if fit.pool.market == "spot":
        most_lost = np.maximum(most_lost, after * fit.capacity)
    return _Begun(
        counts,
        begun.served[rows] + more * fit.capacity,
        most_lost,
        begun.usd[rows] + more * each_usd + starts * want.start_usd,
    )


def _useful(want: Want, fit: Fit) -> int:
    """One pool that serves it all meets every need that it can meet."""
    return min(max(1, math.ceil(want.demand / fit.capacity - _SLACK)), want.max_replicas)


def _missing(want: Want, begun: _Begun) -> Floats:
    """What must still be served, with and without the spot pool that serves most."""
    kept = want.demand * want.kept_share
    need = np.maximum(want.demand, kept + begun.most_lost) if kept > 0 else want.demand
    missing: Floats = need - begun.served
    return missing


def _allowed(problem: Problem, want: Want, fits: Sequence[Fit], counts: Counts) -> NDArray[np.bool]:
    allowed: NDArray[np.bool] = counts.sum(axis=1) <= want.max_replicas
    if want.max_usd_per_hour < math.inf:
        shares = np.array([share_usd(problem, fit) for fit in fits])
        allowed &= counts @ shares <= want.max_usd_per_hour + _SLACK
    return allowed


def _needed(problem: Problem, want: Want, fits: Sequence[Fit], counts: Counts) -> NDArray[np.bool]:
    """Covers that no replica can be left out of."""
    capacity = np.array([fit.capacity for fit in fits])
    served = (counts @ capacity)[:, None] - capacity
    need: Floats | float = want.demand
    if want.kept_share > 0:
        lost = np.where([fit.pool.market == "spot" for fit in fits], counts * capacity, 0.0)
        most = lost.max(axis=1)[:, None]
        others = np.partition(lost, -2, axis=1)[:, -2:-1] if len(fits) > 1 else 0.0
        most_left = np.where(lost == most, np.maximum(lost - capacity, others), most)
        need = np.maximum(want.demand, want.demand * want.kept_share + most_left)
    spare = (counts > _stays(problem, want, fits)) & (need - served <= _SLACK)
    needed: NDArray[np.bool] = ~spare.any(axis=1)
    return needed


def _unit_usd(want: Want, fit: Fit, slot_usd: Mapping[Pool, float]) -> float:
    """Dollars per hour for a unit of demand, at least."""
    starts = 0.0 if want.running.get(fit.pool) else want.start_usd
    return (slot_usd[fit.pool] * fit.devices + starts) / fit.capacity
