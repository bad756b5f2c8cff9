"""Which fits are worth the solver's time: a programme over the whole catalogue would have tens of
thousands of columns, of which all but a few are dearer twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.placement.offer import Pool
from control_plane.placement.problem import Fit, Impossible, Problem, Want

_CHEAPEST = 8
"""By dollars for a unit of demand."""
_WHOLE_MACHINES = 3
"""Whose slots this deployment fills alone: they may be shared more cheaply."""
_ON_DEMAND = 2
"""So that there is something that the cloud does not take back."""


_WORTH = 0.6
"""Of the dearest machine that is worth its price: what a plan that is good leaves over, or spends
on avoiding that."""
_LEAST_WORTH = 0.1
"""Of such a machine, for the first listing."""
Carriers = Sequence[tuple[Want, Sequence[Fit]]]
"""Deployments that need something, and what may carry them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    want: Want
    fit: Fit


def candidates(problem: Problem) -> list[Candidate]:
    """For each deployment the cheapest fits, those where slots are left over, those it runs on, and
    some that are surely there.

    Raises:
        Impossible: nothing can carry a deployment that needs something.
    """
    found, left_over = [], _left_over(problem)
    for want in problem.wants:
        if want.demand <= 0:
            continue
        fits = usable(problem, want)
        kept = chosen(problem, want, fits)
        also = [fit for fit in fits if left_over.get(fit.pool, 0) >= fit.devices]
        found += [Candidate(want, fit) for fit in dict.fromkeys([*kept, *also])]
    return found


def carriers(problem: Problem) -> Carriers:
    """By deployment that needs something, what may carry it.

    Raises:
        Impossible: nothing can.
    """
    found: dict[str, tuple[Want, list[Fit]]] = {}
    for each in candidates(problem):
        found.setdefault(each.want.deployment, (each.want, []))[1].append(each.fit)
    return list(found.values())


def near_usd(problem: Problem, carried: Carriers, gap: float) -> float:
    """How much dearer than the cheapest covers may be at first: for what machines leave over, so
    far as the gap does not forgive it."""
    forgiven, dearest = 0.0, 0.0
    for want, fits in carried:
        fit = min(fits, key=lambda fit: (unit_usd(problem, fit), fit.pool))
        forgiven += gap * want.demand * unit_usd(problem, fit)
        dearest = max(dearest, problem.usd_per_hour(fit.pool))
    return max(_WORTH * dearest - forgiven, _LEAST_WORTH * dearest)


def _left_over(problem: Problem) -> Mapping[Pool, int]:
    """Device slots beside what runs, which cost nothing more. Where all may move, no machine is
    sure to be paid for."""
    if problem.moves:
        return {}
    used: Counter[Pool] = Counter()
    for want in problem.wants:
        for pool, count in want.running.items():
            if pool in want.fits:
                used[pool] += count * want.fits[pool].devices
    return {pool: -slots % problem.offers[pool].devices for pool, slots in used.items()}


def usable(problem: Problem, want: Want) -> list[Fit]:
    """Fits on what can be had at all.

    Raises:
        Impossible: there are none.
    """
    found = [fit for fit in want.fits.values() if problem.obtainable.get(fit.pool, 1) > 0]
    if not found:
        reasons = "; ".join(sorted(set(want.refused.values())))
        because = f" ({reasons})" if reasons else ""
        raise Impossible(f"{want.deployment}: nothing can carry it{because}")
    return found


def chosen(problem: Problem, want: Want, fits: Iterable[Fit]) -> list[Fit]:
    """The cheapest, those it fills alone, those it runs on, and some that are surely there."""
    ordered = sorted(fits, key=lambda fit: (unit_usd(problem, fit), fit.pool))
    steady = [fit for fit in ordered if fit.pool.market == "on-demand"]
    whole = [fit for fit in ordered if fit.devices == problem.offers[fit.pool].devices]
    running = [fit for fit in ordered if want.running.get(fit.pool)]
    kept: dict[Pool, Fit] = {}
    for each in (ordered[:_CHEAPEST], whole[:_WHOLE_MACHINES], steady[:_ON_DEMAND], running):
        kept |= {fit.pool: fit for fit in each}
    return list(kept.values())


def unit_usd(problem: Problem, fit: Fit) -> float:
    """Dollars per hour for a unit of demand; launches that are likely to fail count as dearer."""
    return problem.certain_slot_usd[fit.pool] * fit.devices / fit.capacity
