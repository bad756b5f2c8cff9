"""What each deployment has while a plan is made without a solver, and the two moves that change it:
a deployment chooses anew, and a machine is given back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.placement.candidates import chosen, unit_usd, usable
from control_plane.placement.cover import SLACK, Placed, covers, replicas
from control_plane.placement.offer import Pool
from control_plane.placement.plan import cost, share_usd, start_cost
from control_plane.placement.problem import Fit, Impossible, Problem, Want
from control_plane.placement.stock import Stock

_LEAST_PART = 0.1
"""Of the demand, that one spot pool may carry however little may be lost with it."""


@dataclass(slots=True)
class Search:
    problem: Problem
    stock: Stock
    wants: list[Want] = field(default_factory=list)
    placed: dict[str, Placed] = field(default_factory=dict)
    _fits: dict[str, list[Fit]] = field(default_factory=dict)
    _regrets: dict[tuple[str, Pool], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises Impossible: nothing carries one of them."""
        self.wants = [want for want in self.problem.wants if want.demand > 0]
        self.wants.sort(key=lambda want: (-_largest(want), -want.demand, want.deployment))
        for want in self.wants:
            fits = chosen(self.problem, want, usable(self.problem, want))
            self._fits[want.deployment] = fits
            self._set(want, self._staying(want))

    @property
    def instances(self) -> dict[Pool, int]:
        pools = {pool for each in self.placed.values() for pool in each}
        return {pool: self.stock.instances(pool) for pool in sorted(pools)}

    def usd(self) -> float:
        """Dollars per hour of all of it, and of its starts."""
        return cost(self.problem, self.instances) + start_cost(self.problem, self.placed)

    def choose(self, want: Want, left_over: float) -> None:
        """Again, if it has chosen before.

        Raises:
            Impossible: limits are reached before its needs are met.
        """
        staying = self._staying(want)
        self._set(want, staying)
        shared = [want.fits[pool] for pool in self.stock.begun() if pool in want.fits]
        fits = list(dict.fromkeys([*self._fits[want.deployment], *shared]))
        best = _cheapest(self.stock, want, fits, staying, left_over)
        self._set(want, best or _filled(self.stock, want, staying))

    def close(self, pool: Pool) -> bool:
        """Give one machine back, if what is on it costs less elsewhere: a deployment alone would
        not leave a machine that the others keep."""
        have, before, kept = self.stock.instances(pool), self.usd(), dict(self.placed)
        self.stock.limits[pool] = have - 1
        emptied = self._leave(pool, have - 1)
        del self.stock.limits[pool]
        if emptied and self.usd() < before - SLACK:
            return True
        for want in self.wants:
            if self.placed[want.deployment] is not kept[want.deployment]:
                self._set(want, kept[want.deployment])
        return False

    def _leave(self, pool: Pool, instances: int) -> bool:
        """Whether so many are enough for who stays."""
        for want in self._least_regretful(pool):
            if self.stock.instances(pool) <= instances:
                return True
            try:
                self.choose(want, 1.0)
            except Impossible:
                return False
        return self.stock.instances(pool) <= instances

    def _least_regretful(self, pool: Pool) -> list[Want]:
        there = [want for want in self.wants if self.placed[want.deployment].get(pool)]
        return sorted(there, key=lambda want: (self._regret(want, pool), want.deployment))

    def _regret(self, want: Want, pool: Pool) -> float:
        """Dollars per hour for each slot, if slots cost their share wherever they are."""
        key = want.deployment, pool
        if key not in self._regrets:
            slots = self.placed[want.deployment][pool] * want.fits[pool].devices
            alone = Stock(self.problem, limits={pool: 0})
            other = _cheapest(alone, want, self._fits[want.deployment], {}, 0.0)
            more = math.inf
            if other is not None:
                more = _shares(self.problem, want, other)
                more -= _shares(self.problem, want, self.placed[want.deployment])
            self._regrets[key] = more / slots
        return self._regrets[key]

    def _staying(self, want: Want) -> Placed:
        return {} if self.problem.moves else dict(want.running)

    def _set(self, want: Want, placed: Placed) -> None:
        self.stock.give(want.fits, self.placed.get(want.deployment, {}))
        self.placed[want.deployment] = placed
        self.stock.take(want.fits, placed)


def _largest(want: Want) -> int:
    return max((fit.devices for fit in want.fits.values()), default=0)


def _cheapest(
    stock: Stock, want: Want, fits: list[Fit], staying: Placed, left_over: float
) -> Placed | None:
    best: tuple[float, Placed] | None = None
    for placed in covers(stock, want, fits, staying, left_over):
        if not _within_limits(stock.problem, want, placed):
            continue
        usd = _starts(want, placed) + sum(
            stock.added_usd(want.fits[pool], count - staying.get(pool, 0), left_over)
            for pool, count in placed.items()
        )
        if best is None or usd < best[0] - SLACK:
            best = (usd, placed)
    return best[1] if best else None


def _shares(problem: Problem, want: Want, placed: Placed) -> float:
    usd = sum(share_usd(problem, want.fits[pool]) * count for pool, count in placed.items())
    return usd + _starts(want, placed)


def _starts(want: Want, placed: Placed) -> float:
    new = sum(max(0, count - want.running.get(pool, 0)) for pool, count in placed.items())
    return want.start_usd * new


def _filled(stock: Stock, want: Want, staying: Placed) -> Placed:
    """Whatever can be had, the cheapest first, where no cover was found.

    Raises:
        Impossible: it is not enough.
    """
    problem = stock.problem
    placed = dict(staying)
    kept = want.demand * want.kept_share
    # No spot pool may carry more than what the others can do without it.
    bound = math.inf if kept <= 0 else max(want.demand - kept, _LEAST_PART * want.demand)
    for fit in sorted(want.fits.values(), key=lambda fit: (unit_usd(problem, fit), fit.pool)):
        limit = bound if fit.pool.market == "spot" else math.inf
        limit -= placed.get(fit.pool, 0) * fit.capacity
        missing = want.demand - _served(want, placed)
        count = min(replicas(min(missing, limit), fit), stock.most(fit))
        if missing > SLACK and count > 0:
            stock.take(want.fits, {fit.pool: count})
            placed[fit.pool] = placed.get(fit.pool, 0) + count
    added = {pool: count - staying.get(pool, 0) for pool, count in placed.items()}
    stock.give(want.fits, added)
    if _served(want, placed) < want.demand * (1 - SLACK) or not _within_limits(
        problem, want, placed
    ):
        raise Impossible(
            f"{want.deployment}: {_served(want, placed):g} of {want.demand:g} can be served within "
            "its limits of price, replicas, quota and what can be had"
        )
    return placed


def _within_limits(problem: Problem, want: Want, placed: Mapping[Pool, int]) -> bool:
    if sum(placed.values()) > want.max_replicas:
        return False
    usd = sum(share_usd(problem, want.fits[pool]) * count for pool, count in placed.items())
    return usd <= want.max_usd_per_hour + SLACK


def _served(want: Want, placed: Mapping[Pool, int]) -> float:
    return sum(want.fits[pool].capacity * count for pool, count in placed.items())
