"""How one deployment may be served, given what the others have: from as many pools as it takes.

For each bound on what a single spot pool may carry, a covering knapsack: replicas in the order of
their price for what they serve, and the last ones wherever what is still missing costs least.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from control_plane.placement.offer import Pool
from control_plane.placement.problem import Fit, Want
from control_plane.placement.stock import Stock

SLACK = 1e-9
_MOST_BOUNDS = 24

Placed = dict[Pool, int]


@dataclass(frozen=True, slots=True)
class _Step:
    """Replicas of one pool that cost the same."""

    fit: Fit
    count: int
    usd: float
    """Of one, in an hour."""

    @property
    def unit_usd(self) -> float:
        return self.usd / self.fit.capacity


def covers(
    stock: Stock, want: Want, fits: Sequence[Fit], staying: Placed, left_over: float
) -> Iterator[Placed]:
    """Ways to meet its needs, each the cheapest that was found for its bound.

    Args:
        staying: what each of them has in it; the stock has been told.
        left_over: as `Stock.added_usd` has it.
    """
    steps = [step for fit in fits for step in _steps(stock, want, fit, staying, left_over)]
    steps.sort(key=lambda step: (step.unit_usd, step.fit.pool))
    kept = want.demand * want.kept_share
    heaviest = max(
        (want.fits[pool].capacity * count for pool, count in staying.items() if _is_spot(pool)),
        default=0.0,
    )
    for bound in _bounds(want, fits, heaviest):
        need = max(want.demand, kept + bound) if kept > 0 else want.demand
        placed = _filled(stock, want, steps, staying, bound, need)
        if placed is not None:
            yield placed


def replicas(demand: float, fit: Fit) -> int:
    """That serve so much."""
    return max(0, math.ceil(demand / fit.capacity - SLACK))


def _bounds(want: Want, fits: Sequence[Fit], least: float) -> list[float]:
    """Whole replicas' worth, from what many pools share to what two do; evenly drawn from these."""
    kept = want.demand * want.kept_share
    if kept <= 0:
        return [math.inf]
    most = max(want.demand - kept, kept)
    found = {least}
    for fit in fits:
        if _is_spot(fit.pool):
            found |= {count * fit.capacity for count in range(1, replicas(most, fit) + 1)}
    ordered = sorted(bound for bound in found if bound >= least)
    apart = max(1, -(-len(ordered) // _MOST_BOUNDS))
    return ordered[::-apart]


def _steps(
    stock: Stock, want: Want, fit: Fit, staying: Placed, left_over: float
) -> Iterator[_Step]:
    """What is free on machines that others began is cheaper; what runs already needs no start."""
    most = stock.most(fit)
    free = min(most, stock.free_slots(fit.pool) // fit.devices)
    running = min(most, want.running.get(fit.pool, 0) - staying.get(fit.pool, 0))
    share = stock.share_usd(fit)
    for begin, end in pairwise(sorted({0, free, running, most})):
        usd = share * (1 - left_over) if begin < free else share
        yield _Step(fit, end - begin, usd + (want.start_usd if begin >= running else 0.0))


def _filled(
    stock: Stock,
    want: Want,
    steps: Sequence[_Step],
    staying: Placed,
    bound: float,
    need: float,
) -> Placed | None:
    """None where it is not enough. What it takes from the stock meanwhile, it gives back."""
    placed = dict(staying)
    missing = need - sum(want.fits[pool].capacity * count for pool, count in staying.items())
    if missing <= SLACK:
        return placed
    try:
        for index, step in enumerate(steps):
            whole = int((missing + SLACK) / step.fit.capacity)
            count = min(whole, _room(stock, step, placed, bound))
            if count:
                _take(stock, want, placed, step, count)
                missing -= count * step.fit.capacity
            if missing <= SLACK:
                return placed
            if count == whole:
                # One more of it is too much: perhaps another one is not.
                last = _last(stock, steps[index:], placed, bound, missing)
                if last is not None:
                    _take(stock, want, placed, last, replicas(missing, last.fit))
                    return placed
        return None
    finally:
        taken = {pool: count - staying.get(pool, 0) for pool, count in placed.items()}
        stock.give(want.fits, taken)


def _last(
    stock: Stock, steps: Sequence[_Step], placed: Placed, bound: float, missing: float
) -> _Step | None:
    best: tuple[float, _Step] | None = None
    for step in steps:
        count = replicas(missing, step.fit)
        usd = count * step.usd
        if (best is None or usd < best[0]) and _room(stock, step, placed, bound) >= count:
            best = (usd, step)
    return best[1] if best else None


def _room(stock: Stock, step: _Step, placed: Placed, bound: float) -> int:
    """Replicas of the step that the stock, and the bound of a spot pool, leave."""
    room = min(step.count, stock.most(step.fit))
    if _is_spot(step.fit.pool) and bound < math.inf:
        taken = placed.get(step.fit.pool, 0)
        room = min(room, int(bound / step.fit.capacity + SLACK) - taken)
    return max(0, room)


def _take(stock: Stock, want: Want, placed: Placed, step: _Step, count: int) -> None:
    stock.take(want.fits, {step.fit.pool: count})
    placed[step.fit.pool] = placed.get(step.fit.pool, 0) + count


def _is_spot(pool: Pool) -> bool:
    return pool.market == "spot"
