"""Why offers were not taken: a plan explains itself (promise 6)."""

from __future__ import annotations

import math
from heapq import nsmallest

from control_plane.placement.candidates import unit_usd
from control_plane.placement.offer import Pool
from control_plane.placement.plan import Plan
from control_plane.placement.problem import Problem, Want

_TOLD = 8
"""Of each deployment: the cheapest that were not taken; nobody reads three hundred."""


def rejected(problem: Problem, plan: Plan) -> dict[str, dict[Pool, str]]:
    """By deployment, the nearest offers that it is not on, each with the reason."""
    return {want.deployment: _reasons(problem, want, plan) for want in problem.wants}


def _reasons(problem: Problem, want: Want, plan: Plan) -> dict[Pool, str]:
    taken = plan.replicas.get(want.deployment, {})
    prices = {pool: unit_usd(problem, fit) for pool, fit in want.fits.items()}
    dearest = max((prices[pool] for pool in taken), default=0.0)
    told: dict[Pool, str] = {}
    others = ((usd, pool) for pool, usd in prices.items() if pool not in taken)
    for _, pool in nsmallest(_TOLD, others):
        told[pool] = _why(problem, plan, pool, prices[pool], dearest)
    for pool, reason in sorted(want.refused.items())[:_TOLD]:
        told.setdefault(pool, reason)
    return told


def _why(problem: Problem, plan: Plan, pool: Pool, usd: float, dearest: float) -> str:
    offer = problem.offers[pool]
    limit = problem.obtainable.get(pool)
    if limit is not None and plan.instances.get(pool, 0) >= limit:
        return f"no more than {limit} can be had now"
    vcpus = problem.quotas.get(offer.quota)
    if vcpus is not None and _used(problem, plan, pool) + offer.vcpus > vcpus:
        return f"the quota of {vcpus} virtual CPUs is used"
    if math.isclose(usd, dearest):
        return f"no cheaper: ${usd:.4f}/h a unit, as what was chosen"
    if usd > dearest:
        return f"dearer: ${usd:.4f}/h a unit, chosen up to ${dearest:.4f}"
    return f"${usd:.4f}/h a unit, but whole machines and what is left after a loss cost more"


def _used(problem: Problem, plan: Plan, pool: Pool) -> int:
    quota = problem.offers[pool].quota
    return sum(
        count * problem.offers[other].vcpus
        for other, count in plan.instances.items()
        if problem.offers[other].quota == quota
    )
