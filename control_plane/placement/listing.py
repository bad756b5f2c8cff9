"""The covers that a good plan may have, of all deployments, and what a plan with another costs.

Slots are priced as their machines are; where quotas, or what can be had, forbid the plan that is
cheapest so, the duals of the relaxed choice are added to the prices that covers are listed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from control_plane.placement.candidates import Carriers
from control_plane.placement.enumeration import Covers, covers
from control_plane.placement.offer import Pool
from control_plane.placement.problem import Problem
from control_plane.placement.relaxation import Relaxation, Relaxed

_FIRST = 0.25
"""Of what is asked for, to find prices with."""
_WIDER = 4.0
"""Where limits leave no plan among those."""
_ROUNDS = 4
_DISTANCE = 1e-3
"""Of the cost, that prices may be wrong by."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Prices:
    slot_usd: Mapping[Pool, float]
    given_usd: float = 0.0
    """What limits, which cost nothing, are counted with in these prices."""


@dataclass(frozen=True, slots=True)
class Listing:
    relaxation: Relaxation
    root: Relaxed
    cheapest_usd: float
    """No plan costs less."""
    below_usd: float
    """No plan that has a cover which is not listed costs less."""
    complete: bool
    """Whether everything is listed that was asked for."""


def listing(problem: Problem, carried: Carriers, within_usd: float) -> Listing | None:
    """The covers that cost at most so much more than the cheapest of their deployment.

    None: a deployment has no cover within its own limits; or within limits that all share, none of
    those that can be listed.

    Raises:
        Unsolved: see there.
    """
    prices, first_usd = Prices(problem.slot_usd), _FIRST * within_usd
    for _ in range(_ROUNDS):
        first = _listing(problem, carried, prices, first_usd)
        if first is None:
            return None
        if first.root.unserved > _SLACK:
            if not first.complete:
                return None
            first_usd *= _WIDER
            continue
        prices = _prices(problem, first)
        far_usd = first.root.bound_usd - first.cheapest_usd
        if far_usd <= _DISTANCE * first.root.bound_usd or not first.complete:
            break
    found = _listing(problem, carried, prices, within_usd)
    if found is not None and found.root.unserved > _SLACK and first_usd > within_usd:
        return _listing(problem, carried, prices, first_usd)
    return found


def _listing(
    problem: Problem, carried: Carriers, prices: Prices, within_usd: float
) -> Listing | None:
    lists: list[Covers] = []
    for want, fits in carried:
        lists.append(covers(problem, want, fits, prices.slot_usd, within_usd))
        if not len(lists[-1].usd):
            return None
    cheapest = sum(float(each.usd.min()) for each in lists) - prices.given_usd
    beyond = min(each.below_usd - float(each.usd.min()) for each in lists)
    relaxation = Relaxation(problem, lists)
    pools = len(relaxation.columns.pools)
    root = relaxation.solve(np.zeros(pools), np.full(pools, np.inf), None, np.inf)
    complete = beyond >= within_usd * (1 - _SLACK)
    return Listing(relaxation, root, cheapest, cheapest + max(0.0, beyond), complete)


def _prices(problem: Problem, listed: Listing) -> Prices:
    columns, root = listed.relaxation.columns, listed.root
    quotas = dict(zip(columns.quotas, root.limit_usd, strict=False))
    scarce = dict(zip(columns.scarce, root.limit_usd[len(quotas) :], strict=True))
    scarce |= dict(zip(columns.pools, root.most_usd, strict=True))
    slot_usd = {}
    for pool, offer in problem.offers.items():
        more = quotas.get(offer.quota, 0.0) * offer.vcpus + scarce.get(pool, 0.0)
        slot_usd[pool] = problem.slot_usd[pool] + more / offer.devices
    given = sum(usd * problem.quotas[quota] for quota, usd in quotas.items())
    given += sum(usd * problem.obtainable[pool] for pool, usd in scarce.items() if usd > 0)
    return Prices(slot_usd, given)
