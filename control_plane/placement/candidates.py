"""Which fits are worth the solver's time: a programme over the whole catalogue would have tens of
thousands of columns, of which all but a few are dearer twins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.placement.offer import Pool
from control_plane.placement.problem import Fit, Impossible, Problem, Want

_CHEAPEST = 8
"""By dollars for a unit of demand."""
_WHOLE_MACHINES = 3
"""Whose slots this deployment fills alone: they may be shared more cheaply."""
_ON_DEMAND = 2
"""So that there is something that the cloud does not take back."""


@dataclass(frozen=True, slots=True)
class Candidate:
    want: Want
    fit: Fit


def candidates(problem: Problem) -> list[Candidate]:
    """For each deployment the cheapest fits, those it runs on, and some that are surely there.

    Raises:
        Impossible: nothing can carry a deployment that needs something.
    """
    found = []
    for want in problem.wants:
        if want.demand <= 0:
            continue
        found += [Candidate(want, fit) for fit in chosen(problem, want, usable(problem, want))]
    return found


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
    certain = max(problem.offers[fit.pool].launch_share, 0.05)
    return problem.slot_usd[fit.pool] * fit.devices / fit.capacity / certain
