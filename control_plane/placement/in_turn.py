"""A plan that keeps every limit, if one can be found: deployments choose one after the other, each
the cheapest cover for itself that what the others have leaves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.placement.candidates import chosen, unit_usd, usable
from control_plane.placement.cover import SLACK, Placed, covers, replicas
from control_plane.placement.offer import Pool
from control_plane.placement.plan import Plan, plan_of, share_usd
from control_plane.placement.problem import Fit, Impossible, Problem, Want
from control_plane.placement.stock import Stock

_LEAST_PART = 0.1
"""Of the demand, that one spot pool may carry however little may be lost with it."""


_ROUNDS = (0.0, 1.0)
"""What a slot that nobody uses yet is counted with: at first nothing, since somebody may come."""


def in_turn(problem: Problem) -> Plan:
    """Deployments whose replicas are largest choose first.

    Raises:
        Impossible: limits are reached before a deployment's needs are met.
    """
    search = _Search(problem, Stock(problem))
    for left_over in _ROUNDS:
        for want in search.wants:
            search.choose(want, left_over)
    return plan_of(problem, search.placed, None, "greedy")


@dataclass(slots=True)
class _Search:
    problem: Problem
    stock: Stock
    wants: list[Want] = field(default_factory=list)
    placed: dict[str, Placed] = field(default_factory=dict)
    _fits: dict[str, list[Fit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises Impossible: nothing carries one of them."""
        self.wants = [want for want in self.problem.wants if want.demand > 0]
        self.wants.sort(key=lambda want: (-_largest(want), -want.demand, want.deployment))
        for want in self.wants:
            fits = chosen(self.problem, want, usable(self.problem, want))
            self._fits[want.deployment] = fits
            self._set(want, self._staying(want))

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
        if _beyond_limits(stock.problem, want, placed):
            continue
        usd = _starts(want, placed) + sum(
            stock.added_usd(want.fits[pool], count - staying.get(pool, 0), left_over)
            for pool, count in placed.items()
        )
        if best is None or usd < best[0] - SLACK:
            best = (usd, placed)
    return best[1] if best else None


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
    served = _served(want, placed)
    if served < want.demand * (1 - SLACK):
        raise Impossible(
            f"{want.deployment}: {served:g} of {want.demand:g} can be served within its limits of "
            "price, replicas, quota and what can be had"
        )
    beyond = _beyond_limits(problem, want, placed)
    if beyond:
        raise Impossible(f"{want.deployment}: to serve {want.demand:g} takes {beyond}")
    return placed


def _beyond_limits(problem: Problem, want: Want, placed: Mapping[Pool, int]) -> str:
    """In words; empty where its limits are kept."""
    count = sum(placed.values())
    usd = sum(share_usd(problem, want.fits[pool]) * each for pool, each in placed.items())
    if count > want.max_replicas:
        return f"{count} replicas, and it may have {want.max_replicas}"
    if usd > want.max_usd_per_hour + SLACK:
        return f"${usd:.2f}/h, and it may cost ${want.max_usd_per_hour:.2f}/h"
    return ""


def _served(want: Want, placed: Mapping[Pool, int]) -> float:
    return sum(want.fits[pool].capacity * count for pool, count in placed.items())
